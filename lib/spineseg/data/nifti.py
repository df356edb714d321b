"""NIfTI headers: where the voxels are, and which of two positions counts.

A NIfTI header can state the scan's position twice: as the sform (a matrix) and as the qform (a
rotation, the voxel size and an offset), each with a code that is 0 if it is not given. Readers
differ in which one they use. Here, as in nibabel, the sform counts if it is given. The qform counts
if there is no sform or if the sform's axes are not at right angles.

Source: the NIfTI-1 and NIfTI-2 standards, nifti.nimh.nih.gov.
"""

import gzip
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from spineseg.data.headers import (
    BLOCK_BYTES,
    EXPORT_AGAIN,
    GZIP_MAGIC,
    INVALID_GRID,
    SAVE_GRAY,
    SAVE_ONE_VOLUME,
    SEVERAL_NUMBERS,
    ZLIB_OR_GZIP,
    StoredVoxels,
    nearest_rotation,
    nrrd_header,
    refuse_other_content,
    right_angle_error,
)
from spineseg.data.headers import RIGHT_ANGLE_TOLERANCE as TOLERANCE
from spineseg.utils.errors import Problem, UserError

FIELDS = {  # of NIfTI-1 and NIfTI-2: format and offset
    "sizeof_hdr": ("i4", 0, "i4", 0),
    "magic": ("S4", 344, "S4", 4),
    "datatype": ("i2", 70, "i2", 12),
    "bitpix": ("i2", 72, "i2", 14),
    "dim": ("8i2", 40, "8i8", 16),
    "pixdim": ("8f4", 76, "8f8", 104),
    "vox_offset": ("f4", 108, "i8", 168),
    "scl_slope": ("f4", 112, "f8", 176),
    "scl_inter": ("f4", 116, "f8", 184),
    "xyzt_units": ("u1", 123, "i4", 500),
    "descrip": ("S80", 148, "S80", 240),
    "qform_code": ("i2", 252, "i4", 344),
    "sform_code": ("i2", 254, "i4", 348),
    "quatern": ("3f4", 256, "3f8", 352),
    "qoffset": ("3f4", 268, "3f8", 376),
    "srow": ("(3,4)f4", 280, "(3,4)f8", 400),
}
HEADER_BYTES = (348, 540)
SINGLE_FILE = (b"n+1", b"n+2")  # the magics; those of two files are ni1 and ni2
TWO_FILES = (b"ni1", b"ni2")


def _layout(version: int) -> np.dtype:
    """The fields of NIfTI-1 (version 0) or NIfTI-2 (version 1) as a numpy type."""
    layout: Any = {
        "names": list(FIELDS),
        "formats": [field[2 * version] for field in FIELDS.values()],
        "offsets": [field[2 * version + 1] for field in FIELDS.values()],
        "itemsize": HEADER_BYTES[version],
    }
    return np.dtype(layout)


LAYOUTS = _layout(0), _layout(1)
EXTENSION_BYTES = 4  # between header and voxels, all 0 if the header is not extended
POSITION_FIELDS = ("xyzt_units", "qform_code", "sform_code", "quatern", "qoffset", "srow")

NRRD_TYPES = {  # by NIfTI's datatype; the names are numpy's too
    **{2: "uint8", 4: "int16", 8: "int32", 16: "float", 64: "double"},
    **{256: "int8", 512: "uint16", 768: "uint32", 1024: "int64", 1280: "uint64"},
}
MM_PER_UNIT = {0: 1.0, 1: 1e3, 2: 1.0, 3: 1e-3}  # unknown (taken as mm), m, mm, micrometres
MM_CODE, SCANNER_CODE = 2, 1  # of xyzt_units; of sform and qform: the scanner's own axes
UNIT_BITS = 7  # of xyzt_units; the others are for time
MAX_DESCRIPTION_BYTES = 79
COMPRESSION_LEVEL = 6
MIN_SLOPE = 1e-12  # a slope closer to 0 leaves nothing of the voxels
MAX_QUATERNION = 1 + 1e-4  # of b² + c² + d²
SPACING_TOLERANCE = 1e-3  # relative, between the two spacings of a header
FORMS_TOLERANCE = 0.1  # of the smallest spacing, between corresponding voxels
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's axes point right and front, ITK's left and back


class Header(NamedTuple):
    """The fields of a NIfTI header, and how the file is stored."""

    fields: np.void
    compressed: bool
    big_endian: bool

    @property
    def size(self) -> tuple[int, ...]:
        """Columns, rows, slices, …, without trailing axes of one voxel beyond the third."""
        rank, *dims = self.fields["dim"].tolist()
        while rank > 3 and dims[rank - 1] == 1:
            rank -= 1
        return tuple(dims[:rank])

    def has_position(self) -> bool:
        """Whether the header states a sform or a qform."""
        return bool(self.fields["sform_code"] > 0 or self.fields["qform_code"] > 0)

    def spacing(self) -> np.ndarray:
        """mm between voxels along the three axes, as `pixdim` states them."""
        return np.abs(self.fields["pixdim"][1:4].astype(float)) * self.mm_per_unit()

    def mm_per_unit(self) -> float:
        return MM_PER_UNIT.get(int(self.fields["xyzt_units"]) & UNIT_BITS, 1.0)

    def sform(self) -> np.ndarray | None:
        """The matrix (4, 4) from voxel indices to mm in ITK's axes; None if not given or absurd."""
        if self.fields["sform_code"] <= 0:
            return None
        rows = self.fields["srow"].astype(float) * self.mm_per_unit()
        return _matrix(rows[:, :3], rows[:, 3])

    def qform(self) -> np.ndarray | None:
        """The matrix (4, 4) from voxel indices to mm in ITK's axes; None if not given or absurd."""
        b, c, d = self.fields["quatern"].astype(float)
        rest = b * b + c * c + d * d
        if self.fields["qform_code"] <= 0 or rest > MAX_QUATERNION:
            return None
        a, b, c, d = np.array([np.sqrt(max(1 - rest, 0)), b, c, d]) / np.sqrt(max(rest, 1))
        rotation = np.array(
            [
                [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
                [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
                [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
            ]
        )
        handed = -1 if self.fields["pixdim"][0] < 0 else 1
        offset = self.fields["qoffset"].astype(float) * self.mm_per_unit()
        return _matrix(rotation * (self.spacing() * (1, 1, handed)), offset)

    def forms(self) -> dict[str, np.ndarray]:
        """The usable ones of sform and qform, by name, the sform first."""
        found = {"sform": self.sform(), "qform": self.qform()}
        return {name: matrix for name, matrix in found.items() if matrix is not None}


def _matrix(axes: np.ndarray, offset: np.ndarray) -> np.ndarray | None:
    """Axes and offset in NIfTI's axes as a matrix in ITK's; None if two axes are parallel."""
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.min() > 0 or abs(np.linalg.det(axes / lengths)) < TOLERANCE:
        return None
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = axes, offset
    return LPS @ matrix


def locate_nifti(path: Path, notes: list[Problem]) -> StoredVoxels:
    """Check the header of a NIfTI file and find its voxels. Adds what is doubtful to `notes`.

    Raises UserError for a header that makes no sense.
    """
    header = read_header(path)
    if header.compressed != path.name.lower().endswith(".gz"):
        what = f"{'' if header.compressed else 'not '}compressed by gzip, against its name"
        notes.append(Problem(path, what, "read all the same"))
    fields, size = header.fields, header.size
    if len(size) > 4:
        raise UserError.at(path, *SEVERAL_NUMBERS)
    if len(size) != 3:
        shape = " x ".join(map(str, size))
        raise UserError.at(path, f"{shape} voxels are not a 3-D volume", SAVE_ONE_VOLUME)
    skip = int(fields["vox_offset"])
    nrrd = nrrd_header(
        NRRD_TYPES[int(fields["datatype"])],
        header.big_endian,
        header.compressed,
        skip,
        size,
        _position(path, header, notes),
    )
    return StoredVoxels(path, 0, header.compressed, nrrd, skip, _scale(path, fields))


def read_header(path: Path) -> Header:
    """The header of a NIfTI-1 or NIfTI-2 file. Raises UserError if it makes no sense."""
    with open(path, "rb") as file:
        start = file.read(BLOCK_BYTES)
    compressed = start.startswith(GZIP_MAGIC)
    if compressed:
        start = zlib.decompressobj(ZLIB_OR_GZIP).decompress(start, BLOCK_BYTES)
    found = _fields(start)
    if found is None:
        refuse_other_content(path, start)
        raise UserError.at(path, "not a NIfTI file", EXPORT_AGAIN)
    fields, big_endian = found
    if fields["magic"] in TWO_FILES:
        raise UserError.at(path, "only a header: its voxels are in another file", "save it as .nii")
    rank, *dims = fields["dim"].tolist()
    if not 1 <= rank <= 7 or min(dims[:rank]) < 1:
        raise UserError.at(path, "the header gives an impossible size", EXPORT_AGAIN)
    if int(fields["datatype"]) not in NRRD_TYPES:
        what = f"NIfTI datatype {fields['datatype']} is not one real number per voxel"
        raise UserError.at(path, what, SAVE_GRAY)
    offset = float(fields["vox_offset"])
    if not np.isfinite(offset):
        raise UserError.at(path, INVALID_GRID, EXPORT_AGAIN)
    if offset < fields.dtype.itemsize + EXTENSION_BYTES or offset != int(offset):
        raise UserError.at(path, f"its voxels cannot begin at byte {offset:g}", EXPORT_AGAIN)
    return Header(fields, compressed, big_endian)


def _fields(start: bytes) -> tuple[np.void, bool] | None:
    """The fields of the header, and whether it is big-endian; None if there is no header."""
    for layout in LAYOUTS:
        for big_endian in (False, True):
            if len(start) >= layout.itemsize:
                fields = np.frombuffer(
                    start, layout.newbyteorder(">" if big_endian else "<"), count=1
                )[0]
                known = fields["magic"] in (*SINGLE_FILE, *TWO_FILES)
                if known and fields["sizeof_hdr"] == layout.itemsize:
                    return fields, big_endian
    return None


def _scale(path: Path, fields: np.void) -> tuple[float, float] | None:
    """What the stored numbers are to be multiplied by, and what is then added; None: nothing."""
    slope, intercept = float(fields["scl_slope"]), float(fields["scl_inter"])
    if slope == 0 or np.isnan(slope) or (slope, intercept) == (1, 0):
        return None
    if not np.isfinite((slope, intercept)).all() or abs(slope) < MIN_SLOPE:
        what = f"its voxels are scaled by {slope:g} plus {intercept:g}"
        raise UserError.at(path, what, EXPORT_AGAIN)
    return slope, intercept


def _position(path: Path, header: Header, notes: list[Problem]) -> np.ndarray:
    """The matrix (4, 4) from voxel indices to mm that counts. See the top of this file."""
    fields = header.fields
    given = [form for form in ("sform", "qform") if fields[f"{form}_code"] > 0]
    numbers = (fields["pixdim"][1:4], *(fields["srow"].ravel() if "sform" in given else ()))
    numbers += (fields["quatern"], fields["qoffset"]) if "qform" in given else ()
    if not np.isfinite(np.hstack(numbers)).all():
        raise UserError.at(path, INVALID_GRID, EXPORT_AGAIN)
    forms = header.forms()
    if given and not forms:
        what = f"its {' and its '.join(given)} makes no sense"
        raise UserError.at(path, what, EXPORT_AGAIN)
    if not given:
        if not header.spacing().min() > 0:
            raise UserError.at(path, INVALID_GRID, EXPORT_AGAIN)
        what = "no position in its header"
        remedy = "its axes are assumed to run to the left, to the back and upwards; please check"
        notes.append(Problem(path, what, remedy))
        return np.diag([*header.spacing(), 1.0])
    used = _form_that_counts(forms)
    notes += _doubts(path, header, forms, used)
    if used == "qform" and header.fields["pixdim"][1:4].min() < 0:
        notes.append(Problem(path, "its header gives a negative spacing", "read as positive"))
    return forms[used]


def _form_that_counts(forms: dict[str, np.ndarray]) -> str:
    first, *others = forms
    sheared = right_angle_error(forms[first][:3, :3]) > TOLERANCE
    return others[0] if sheared and others else first


def _doubts(path: Path, header: Header, forms: dict[str, np.ndarray], used: str) -> list[Problem]:
    """What is contradictory in a header's position."""
    if len(forms) == 2:
        return _difference(path, header.size, forms, used)
    unused = "qform" if used == "sform" else "sform"
    if header.fields[f"{unused}_code"] > 0:
        return [Problem(path, f"its {unused} makes no sense", f"the {used} is used")]
    lengths = np.linalg.norm(forms[used][:3, :3], axis=0)
    if np.allclose(lengths, header.spacing(), rtol=SPACING_TOLERANCE):
        return []
    words = [" x ".join(f"{mm:.3g}" for mm in each) for each in (lengths, header.spacing())]
    what = f"its header gives two spacings, {words[0]} mm (sform) and {words[1]} mm (pixdim)"
    return [Problem(path, what, "the sform is used")]


def _difference(
    path: Path, size: tuple[int, ...], forms: dict[str, np.ndarray], used: str
) -> list[Problem]:
    """A note if sform and qform place the scan differently."""
    sform, qform = forms["sform"], forms["qform"]
    spacing = np.linalg.norm(forms[used][:3, :3], axis=0)
    apart = corner_distance(size, sform, qform)
    if apart <= FORMS_TOLERANCE * spacing.min():
        return []
    turned = _turn(sform, qform)
    what = f"its sform and qform put the same voxels up to {apart:.3g} mm apart{turned}"
    why = "" if used == "sform" else ", because the sform's axes are not at right angles"
    return [Problem(path, what, f"the {used} is used{why}; a NIfTI mask gets both")]


def corner_distance(size: tuple[int, ...], one: np.ndarray, other: np.ndarray) -> float:
    """The largest distance (mm) of corresponding corners of a volume under two matrices (4, 4)."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(size) - 1)
    points = np.column_stack([corners, np.ones(8)])
    return float(np.linalg.norm((points @ (one - other).T)[:, :3], axis=1).max())


def _turn(one: np.ndarray, other: np.ndarray) -> str:
    """How the axes of two matrices are turned against each other, in words."""
    axes = [each[:3, :3] / np.linalg.norm(each[:3, :3], axis=0) for each in (one, other)]
    turn = axes[0] @ np.linalg.inv(axes[1])
    if np.linalg.det(turn) < 0:
        return ", one of them mirrored"
    degrees = np.degrees(np.arccos(np.clip((np.trace(turn) - 1) / 2, -1, 1)))
    return f" and its axes {degrees:.2g} degrees apart" if degrees > 0.05 else ""


def write_nifti(
    path: Path, voxels: np.ndarray, matrix: np.ndarray, scan: Path | None, description: str
) -> None:
    """Write (slices, rows, columns) as NIfTI-1, compressed if `path` ends in .gz.

    At most 79 bytes of the description are kept. `matrix` (4, 4) leads from indices of column, row
    and slice to mm in ITK's axes. It becomes the sform and the qform, unless `scan` is a NIfTI file
    on the same grid, which gives its own.
    """
    header = bytearray(HEADER_BYTES[0] + EXTENSION_BYTES)
    layout = LAYOUTS[0].newbyteorder("<")
    fields = np.frombuffer(header, layout, count=1)[0]
    datatype = next(code for code, name in NRRD_TYPES.items() if np.dtype(name) == voxels.dtype)
    fields["sizeof_hdr"], fields["magic"], fields["vox_offset"] = (
        layout.itemsize,
        b"n+1",
        len(header),
    )
    fields["datatype"], fields["bitpix"] = datatype, 8 * voxels.dtype.itemsize
    fields["dim"] = (3, *voxels.shape[::-1], 1, 1, 1, 1)
    fields["scl_slope"] = fields["pixdim"] = 1
    fields["descrip"] = description.encode()[:MAX_DESCRIPTION_BYTES]
    theirs = read_header(scan).fields if scan else _fields_of(matrix)
    fields["pixdim"][:4] = theirs["pixdim"][:4]
    for name in POSITION_FIELDS:
        fields[name] = theirs[name]
    stored = voxels.astype(voxels.dtype.newbyteorder("<"), copy=False)
    with open(path, "wb") as file:
        if path.name.lower().endswith(".gz"):
            with gzip.GzipFile("", "wb", COMPRESSION_LEVEL, file, mtime=0) as stream:
                stream.write(header)
                stream.write(np.ascontiguousarray(stored).data)
        else:
            file.write(header)
            file.write(np.ascontiguousarray(stored).data)


def _fields_of(matrix: np.ndarray) -> np.void:
    """The fields that state a matrix (4, 4) in ITK's axes as sform and, without shear, as qform."""
    fields = np.zeros(1, LAYOUTS[1])[0]
    ras = LPS @ matrix
    lengths = np.linalg.norm(ras[:3, :3], axis=0)
    rotation = nearest_rotation(ras[:3, :3])
    handed = np.sign(np.linalg.det(rotation))
    fields["pixdim"][:4] = (handed, *lengths)
    fields["xyzt_units"] = MM_CODE
    fields["qform_code"] = fields["sform_code"] = SCANNER_CODE
    fields["quatern"] = _quaternion(rotation * (1, 1, handed))
    fields["qoffset"] = ras[:3, 3]
    fields["srow"] = ras[:3]
    return fields


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """b, c, d of the unit quaternion of a rotation (3, 3) whose a is not negative.

    It is the eigenvector of the largest eigenvalue of a symmetric matrix (Bar-Itzhack 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    matrix = [
        [xx + yy + zz, zy - yz, xz - zx, yx - xy],
        [zy - yz, xx - yy - zz, xy + yx, xz + zx],
        [xz - zx, xy + yx, yy - xx - zz, yz + zy],
        [yx - xy, xz + zx, yz + zy, zz - xx - yy],
    ]
    a, *bcd = np.linalg.eigh(matrix)[1][:, -1]
    return np.array(bcd) * (-1 if a < 0 else 1)
