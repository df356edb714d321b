"""Guards against damaged files: check headers before ITK reads the voxels.

ITK trusts headers. A damaged one can crash it, make it read wrong bytes, or make it take memory for
voxels that do not exist. Each format is therefore checked here first, and ITK is given a file that
it can trust.
"""

import math
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from spineseg.data.segmentation import Segment, find_segments
from spineseg.utils.errors import Problem, UserError

MAX_MEMORY_BYTES = 550_000_000  # for a scan and its masks; Python and the network take the rest
SCALED_BYTES = 4  # of a voxel that is scaled on reading
SPACING_LIMITS_MM = (1e-3, 1e3)
MAX_OFFSET_MM = 1e6
RIGHT_ANGLE_TOLERANCE = 1e-3  # of the products of two unit axes
MIN_SHEAR = 1e-4  # below this, axes count as right-angled; headers round to fewer digits
MAX_SURPLUS_BYTES = 1 << 12  # allowed beyond the voxels; less than one column of a scan

ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # zlib's code for: detect which of the two
MAX_DEFLATE_RATIO = 1032  # a deflate stream cannot expand more than this
BLOCK_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"

# MHA and NRRD: ITK gets a new header with these fields only, and only if their values match.
NUMBER = rb"[-+]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})(e[-+]?\d{1,2})?"  # ITK cannot invert 1e-309
THREE_NUMBERS = rb"NUMBER\s+NUMBER\s+NUMBER".replace(b"NUMBER", NUMBER)
NINE_NUMBERS = rb"THREE\s+THREE\s+THREE".replace(b"THREE", THREE_NUMBERS)
VECTOR = rb"\(\s*NUMBER\s*,\s*NUMBER\s*,\s*NUMBER\s*\)".replace(b"NUMBER", NUMBER)
THREE_COUNTS = rb"\d{1,9}\s+\d{1,9}\s+\d{1,9}"
UNIT_VECTORS = b"(1,0,0) (0,1,0) (0,0,1)"
SPATIAL_KINDS = {b"domain", b"space"}
TEXT_MAGICS = {".mha": (b"ObjectType", b"NDims"), ".nrrd": (b"NRRD",)}
BOOLEAN = rb"true|false|t|f|1|0"
MHA_SPACING = ("ElementSpacing", "ElementSize")
MHA_FIELDS = {
    "DimSize": THREE_COUNTS,
    "ElementType": rb"MET_(U?(CHAR|SHORT|INT|LONG|LONG_LONG)|FLOAT|DOUBLE)",
    **dict.fromkeys(MHA_SPACING, THREE_NUMBERS),
    **dict.fromkeys(("Offset", "Position", "Origin"), THREE_NUMBERS),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), NINE_NUMBERS),
    **dict.fromkeys(("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), BOOLEAN),
    **dict.fromkeys(("BinaryData", "CompressedData"), BOOLEAN),
    "ElementNumberOfChannels": rb"1",
    "HeaderSize": rb"0",
}
MHA_AXES = ("TransformMatrix", "Rotation", "Orientation")
MHA_SYNONYMS = (
    ("Offset", "Position", "Origin"),
    MHA_AXES,
    ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
)
NRRD_FIELDS = {
    "type": rb"((un)?signed )?(char|short|int|long long|long long int|short int)"
    rb"|u?(char|short|int|longlong)|u?int(8|16|32|64)(_t)?|float|double",
    "sizes": THREE_COUNTS,
    "encoding": rb"raw|gzip|gz",
    "endian": rb"little|big",
    "space": rb"[a-z0-9-]{1,40}",
    "space dimension": rb"3",
    "space directions": rb"V\s+V\s+V".replace(b"V", VECTOR),
    "space origin": VECTOR,
    "spacings": THREE_NUMBERS,
    **dict.fromkeys(("axis mins", "axismins", "axis maxs", "axismaxs"), THREE_NUMBERS),
    **dict.fromkeys(("byte skip", "byteskip", "line skip", "lineskip"), rb"0"),
}
HEADER_LINE = rb"(NRRD\d{4}|#.*)?|[ -~]*?[=:].*"  # the magic, a comment, a blank line or a field
UNIQUE_FIELDS = {name.lower() for name in (*MHA_FIELDS, *NRRD_FIELDS)}
UNIQUE_FIELDS |= {"ndims", "elementdatafile", "dimension", "kinds", "data file", "datafile"}
NRRD_MAGIC = b"NRRD0004\n"
VOXEL_FILE = "voxels"  # what a header for ITK calls the file

# How other files begin, and what they are.
OTHER_CONTENT = {
    b"NRRD": "a NRRD image",
    b"ObjectType": "an MHA image",
    b"NDims": "an MHA image",
    b"\x89PNG": "a PNG picture",
    b"\xff\xd8\xff": "a JPEG picture",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 file",
    b"%PDF": "a PDF",
    b"<": "a web page",
    b"version https://git-lfs": "a placeholder of Git LFS",
}
DICOM_MAGIC = b"DICM"
DICOM_PREAMBLE_BYTES = 128  # before the magic; old archives leave both out
NIFTI_MAGICS = {344: (b"n+1\0", b"ni1\0"), 4: (b"n+2\0", b"ni2\0")}  # by byte

COPY_AGAIN = "copy it again"
EXPORT_AGAIN = "export it again"
SAVE_GRAY = "save one gray-scale value per voxel"
SAVE_ONE_VOLUME = "save one 3-D volume per file"
INVALID_GRID = "spacing or position is not a number, or spacing is not above 0"

RESAMPLE_NIFTI = "resample it with nibabel.processing.resample_to_output(scan, voxel_sizes)"
RESAMPLE_OTHER = "resample it with SimpleITK.Resample onto an image with right-angled axes"

# What is wrong, and the remedy.
NOT_FINITE = ("holds NaN or infinite values", EXPORT_AGAIN)
SEVERAL_NUMBERS = ("several numbers per voxel", SAVE_GRAY)
NOT_3D = ("not a 3-D volume", SAVE_ONE_VOLUME)
NO_AXES = (
    "no axes in its header",
    "they are assumed to run to the left, to the back and upwards; please check",
)
NO_SPACING = ("no spacing in its header", "taken as 1 mm; please check")
NO_SPACE = (
    "its header does not say where its axes lead",
    "they are taken to lead to the left, to the back and upwards; please check",
)
DETACHED = ("its voxels are in another file", "save header and voxels in one")


class StoredVoxels(NamedTuple):
    """Where and how a file stores its voxels."""

    path: Path
    start: int  # byte of the file at which the raw or compressed bytes begin
    compressed: bool
    header: bytes  # what ITK reads in place of the file's own header
    skip: int = 0  # raw bytes from there to the first voxel
    scale: tuple[float, float] | None = None  # factor and summand that the numbers still need
    layers: int = 1  # numbers per voxel; more than one only in a segmentation of 3D Slicer
    segments: tuple[Segment, ...] = ()  # of a segmentation of 3D Slicer

    def prepare_for_itk(self, folder: Path) -> Path:
        """Make the file that ITK is to open, in an empty folder: `header`, which names the scan."""
        _link_or_copy(self.path, folder / VOXEL_FILE)
        header = folder / ("x.nhdr" if self.header.startswith(NRRD_MAGIC) else "x.mhd")
        header.write_bytes(self.header)
        return header

    def surplus_bytes(self, size: int) -> int:
        """The number of bytes stored beyond `size` bytes of voxels; negative if some are missing.

        Counting stops past `MAX_SURPLUS_BYTES`. Raises zlib.error for damaged compressed bytes.
        """
        needed = self.skip + size
        stored = self.path.stat().st_size - self.start
        if not self.compressed or needed > MAX_DEFLATE_RATIO * stored:
            return stored - needed
        held = 0
        for block in self._decompressed():
            held += len(block)
            if held > needed + MAX_SURPLUS_BYTES:
                break
        return held - needed

    def _decompressed(self) -> Iterator[bytes]:
        """The decompressed bytes in blocks. Raises zlib.error if the stream is cut off."""
        stream = zlib.decompressobj(ZLIB_OR_GZIP)
        pending = b""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            while pending := pending or file.read(BLOCK_BYTES):
                if stream.eof:  # zero padding, or another gzip member
                    if not (pending := pending.lstrip(b"\0")):
                        continue
                    stream = zlib.decompressobj(ZLIB_OR_GZIP)
                yield stream.decompress(pending, BLOCK_BYTES)
                pending = stream.unconsumed_tail or stream.unused_data
        yield stream.flush()
        if not stream.eof:
            raise zlib.error("truncated")


def _link_or_copy(path: Path, link: Path) -> None:
    """Make `link` a symbolic link to a file, else a hard link, else a copy of it.

    Windows lets few users make symbolic links, and hard links only on the same drive.
    """
    source = path.resolve()
    makers: list[Callable[[Path], None]] = [link.symlink_to]
    if os.access(source, os.W_OK):  # deleting the hard link on Windows would make `source` writable
        makers.append(link.hardlink_to)
    for make in makers:
        with suppress(OSError, NotImplementedError):
            make(source)
            return
    shutil.copyfile(source, link)


def check_voxel_limit(path: Path, size: Sequence[int], bytes_per_voxel: int) -> None:
    """Raise UserError if labelling a volume of that size would take too much memory.

    The scan is in memory twice, as stored and with sagittal axes, and so are three masks.
    """
    memory = math.prod(size) * (2 * bytes_per_voxel + 3)
    if memory > MAX_MEMORY_BYTES:
        shape = " x ".join(map(str, size))
        what = (
            f"{shape} voxels need {memory / 1e6:.0f} MB of memory, more than this program's limit "
            f"of {MAX_MEMORY_BYTES / 1e6:.0f} MB"
        )
        raise UserError.at(path, what, "crop it to the spine, or resample it to larger voxels")


def check_size(reader: sitk.ImageFileReader, stored: StoredVoxels, thinnest: int = 2) -> None:
    """Raise UserError unless the header describes one gray-scale volume that the file holds.

    Each axis must have at least `thinnest` voxels. Needs the header alone, so no memory is taken
    for the voxels.
    """
    size = reader.GetSize()
    shape = " x ".join(map(str, size))
    if len(size) != 3 or min(size) < thinnest:
        raise UserError.at(stored.path, f"{shape} voxels are not a 3-D volume", SAVE_ONE_VOLUME)
    if reader.GetNumberOfComponents() != stored.layers:
        raise UserError.at(stored.path, *SEVERAL_NUMBERS)
    bytes_per_voxel = (
        stored.layers * sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    )
    claimed = math.prod(size) * bytes_per_voxel
    surplus = stored.surplus_bytes(claimed)
    if surplus < 0:
        what = f"truncated: the header claims {shape} voxels, more than the file holds"
        raise UserError.at(stored.path, what, COPY_AGAIN)
    check_voxel_limit(stored.path, size, SCALED_BYTES if stored.scale else bytes_per_voxel)
    if surplus > MAX_SURPLUS_BYTES:
        what = f"the header claims {shape} voxels, far less than the file holds"
        raise UserError.at(stored.path, what, EXPORT_AGAIN)


def check_geometry(reader: sitk.ImageFileReader, path: Path, notes: list[Problem]) -> None:
    """Raise UserError if spacing, position and axes are impossible for a scan of a patient."""
    spacing, origin = reader.GetSpacing(), reader.GetOrigin()
    axes = np.reshape(reader.GetDirection(), (3, 3))
    if not np.isfinite((*spacing, *origin, *axes.flat)).all() or min(spacing) <= 0:
        raise UserError.at(path, INVALID_GRID, EXPORT_AGAIN)
    if min(spacing) < SPACING_LIMITS_MM[0] or max(spacing) > SPACING_LIMITS_MM[1]:
        words = " x ".join(f"{mm:.3g}" for mm in spacing)
        raise UserError.at(path, f"a spacing of {words} mm is impossible for a scan", EXPORT_AGAIN)
    if max(map(abs, origin)) > MAX_OFFSET_MM:
        raise UserError.at(path, "its position is more than a kilometre away", EXPORT_AGAIN)
    if not np.allclose(np.linalg.norm(axes, axis=0), 1, atol=RIGHT_ANGLE_TOLERANCE):
        raise UserError.at(path, "its axes are not of length 1", EXPORT_AGAIN)
    error = right_angle_error(axes)
    if error > MIN_SHEAR:
        what = f"its axes are {np.degrees(np.arcsin(error)):.2g} degrees off right angles"
        if error > RIGHT_ANGLE_TOLERANCE:
            remedy = RESAMPLE_NIFTI if is_nifti(path) else RESAMPLE_OTHER
            raise UserError.at(path, what, remedy)
        notes.append(Problem(path, what, "read with right angles; the mask keeps its axes"))


def is_nifti(path: Path) -> bool:
    """Whether a file's name is that of a NIfTI file."""
    return path.name.lower().endswith((".nii", ".nii.gz"))


def right_angle_error(axes: np.ndarray) -> float:
    """The largest cosine of the angle between two columns of a matrix (3, 3)."""
    unit = axes / np.linalg.norm(axes, axis=0)
    return min(float(np.abs(unit.T @ unit - np.eye(3)).max()), 1.0)


def nearest_rotation(axes: np.ndarray) -> np.ndarray:
    """The right-angled axes (3, 3) of length 1 that are nearest to the columns of `axes`."""
    left, _, right = np.linalg.svd(axes / np.linalg.norm(axes, axis=0))
    return left @ right


def locate_mha(path: Path, notes: list[Problem]) -> StoredVoxels:
    """Check the header of an MHA file and find its voxels. Adds what is doubtful to `notes`.

    Raises UserError for a header that ITK would misread or repair; OSError if it cannot be read.
    """
    fields, end, _ = _read_fields(path, last="ElementDataFile")
    fields = _without_fourth_axis(fields)
    if fields.get("ndims") != b"3":
        raise UserError.at(path, *NOT_3D)
    if fields["elementdatafile"] != b"LOCAL":
        raise UserError.at(path, *DETACHED)
    if fields.get("elementnumberofchannels", b"1") != b"1":
        raise UserError.at(path, *SEVERAL_NUMBERS)
    known = _known_fields(path, fields, MHA_FIELDS, required=("DimSize", "ElementType"))
    for names in MHA_SYNONYMS:
        if len({tuple(known[name].lower().split()) for name in names if name in known}) > 1:
            what = f"its header gives two of {', '.join(names)}"
            raise UserError.at(path, what, EXPORT_AGAIN)
    if not known.pop("BinaryData", b"true").lower().startswith((b"t", b"1")):
        raise UserError.at(path, "its voxels are written as text", "save them as binary")
    if not known.keys() & set(MHA_AXES):
        notes.append(Problem(path, *NO_AXES))
    if not known.keys() & set(MHA_SPACING):
        notes.append(Problem(path, *NO_SPACING))
    compressed = known.pop("CompressedData", b"false").lower().startswith((b"t", b"1"))
    known |= {"HeaderSize": b"%d" % end, "CompressedData": b"%d" % compressed}
    known["CompressedDataSize"] = b"%d" % (path.stat().st_size - end)
    first = b"ObjectType = Image\nNDims = 3\nBinaryData = True\n"
    last = f"ElementDataFile = {VOXEL_FILE}\n".encode()
    header = first + _field_lines(known, b" = ") + last
    return StoredVoxels(path, end, compressed, header)


def _without_fourth_axis(fields: dict[str, bytes]) -> dict[str, bytes]:
    """The fields of an MHA header without a fourth axis of one voxel; others stay as they are."""
    size = fields.get("dimsize", b"").split()
    if fields.get("ndims") != b"4" or len(size) != 4 or size[3] != b"1":
        return fields
    shorter = fields | {"ndims": b"3"}
    for name in MHA_FIELDS:
        numbers = fields.get(name.lower(), b"").split()
        if len(numbers) == 4:
            shorter[name.lower()] = b" ".join(numbers[:3])
        elif len(numbers) == 16:
            rows = (numbers[first : first + 3] for first in (0, 4, 8))
            shorter[name.lower()] = b" ".join(b" ".join(row) for row in rows)
    return shorter


def locate_nrrd(path: Path, notes: list[Problem]) -> StoredVoxels:
    """Check the header of a NRRD file and find its voxels. Adds what is doubtful to `notes`.

    Raises UserError for a header that ITK would misread or repair; OSError if it cannot be read.
    """
    fields, end, lines = _read_fields(path, last="")
    if "data file" in fields or "datafile" in fields:
        raise UserError.at(path, *DETACHED)
    if fields.get("encoding", b"").lower() not in (b"raw", b"gzip", b"gz"):
        raise UserError.at(path, "its voxels are neither raw nor gzip", "save them as raw or gzip")
    segments = find_segments(fields)
    fields, layers = _without_layers(fields)
    if layers > 1 and not segments:
        raise UserError.at(path, *SEVERAL_NUMBERS)
    if not set(fields.get("kinds", b"").lower().split()) <= SPATIAL_KINDS:
        raise UserError.at(path, *SEVERAL_NUMBERS)
    if fields.get("dimension") != b"3":
        raise UserError.at(path, *NOT_3D)
    known = _known_fields(path, fields, NRRD_FIELDS, required=("type", "sizes", "encoding"))
    if set(re.findall(rb'"([^"]*)"', fields.get("space units", b""))) - {b"mm", b""}:
        raise UserError.at(path, "its space units are not mm", EXPORT_AGAIN)
    if "space directions" not in known:
        notes.append(Problem(path, *NO_AXES))
        if "spacings" not in known:
            notes.append(Problem(path, *NO_SPACING))
    elif "space" not in known:
        notes.append(Problem(path, *NO_SPACE))
    known |= {"line skip": b"%d" % lines, "data file": VOXEL_FILE.encode()}
    if layers > 1:
        known["sizes"] = b"%d %s" % (layers, known["sizes"])
        known["space directions"] = b"none " + known.get("space directions", UNIT_VECTORS)
        known["kinds"] = b"vector domain domain domain"
        known.setdefault("space", b"left-posterior-superior")
        known.pop("spacings", None)
    header = NRRD_MAGIC + b"dimension: %d\n" % (3 + (layers > 1)) + _field_lines(known, b": ")
    compressed = known["encoding"].lower() != b"raw"
    return StoredVoxels(path, end, compressed, header, layers=layers, segments=segments)


def _without_layers(fields: dict[str, bytes]) -> tuple[dict[str, bytes], int]:
    """The fields of a NRRD header without a fourth axis that is not spatial, and its length.

    The fields stay as they are, with length 1, if there is no such axis, or if it is not the first
    and has more than one element.
    """
    sizes = fields.get("sizes", b"").split()
    kinds = fields.get("kinds", b"").lower().split()
    vectors = re.findall(rb"none|\([^)]*\)", fields.get("space directions", b""))
    if fields.get("dimension") != b"4" or len(sizes) != 4:
        return fields, 1
    if b"none" in vectors:
        axis = vectors.index(b"none")
    else:
        axis = next((i for i, kind in enumerate(kinds) if kind not in SPATIAL_KINDS), 3)
    if not sizes[axis].isdigit() or (sizes[axis] != b"1" and axis):
        return fields, 1
    shorter = fields | {"dimension": b"3"}
    if fields.get("space dimension") == b"4":  # the axis is one of the space
        vectors = [_first_three(vector) for vector in vectors]
        shorter |= {
            "space dimension": b"3",
            "space origin": _first_three(fields.get("space origin", b"")),
        }
    parts = {"sizes": sizes, "kinds": kinds, "space directions": vectors}
    parts |= {
        name: fields.get(name, b"").split() for name in ("spacings", "axis mins", "axis maxs")
    }
    for name, values in parts.items():
        if name in fields and len(values) == 4:
            shorter[name] = b" ".join(values[:axis] + values[axis + 1 :])
    return shorter, int(sizes[axis])


def _first_three(vector: bytes) -> bytes:
    return b"(%s)" % b",".join(vector.strip(b"() ").split(b",")[:3])


def nrrd_header(
    type_name: str,
    big_endian: bool,
    compressed: bool,
    skip: int,
    size: Sequence[int],
    matrix: np.ndarray,
) -> bytes:
    """A NRRD header for voxels of a file of another format.

    `skip` raw bytes come before the voxels; `matrix` (4, 4) leads from indices to mm in ITK's axes.
    """
    vectors = [f"({','.join(map(repr, column))})" for column in matrix[:3].T.tolist()]
    fields = {
        "type": type_name,
        "encoding": "gzip" if compressed else "raw",
        "endian": "big" if big_endian else "little",
        "byte skip": str(skip),
        "sizes": " ".join(map(str, size)),
        "space": "left-posterior-superior",
        "space directions": " ".join(vectors[:3]),
        "space origin": vectors[3],
        "data file": VOXEL_FILE,
    }
    lines = _field_lines({name: value.encode() for name, value in fields.items()}, b": ")
    return NRRD_MAGIC + b"dimension: 3\n" + lines


def refuse_other_content(path: Path, start: bytes) -> None:
    """Raise UserError if a file begins as one of another type does."""
    found = next((what for magic, what in OTHER_CONTENT.items() if start.startswith(magic)), "")
    if start[DICOM_PREAMBLE_BYTES:].startswith(DICOM_MAGIC):
        remedy = "rename it to .dcm and give the folder that holds its series"
        raise UserError.at(path, "a DICOM file, against its name", remedy)
    if any(start[at:].startswith(magics) for at, magics in NIFTI_MAGICS.items()):
        found = "a NIfTI image"
    if not start:
        raise UserError.at(path, "is empty", COPY_AGAIN)
    if start.startswith(GZIP_MAGIC):
        found = "a file compressed by gzip"
    if found:
        remedy = "rename it" if found.endswith("image") else "download or export the scan again"
        raise UserError.at(path, f"{found}, against its name", remedy)


def _read_fields(path: Path, last: str) -> tuple[dict[str, bytes], int, int]:
    """The fields of a text header up to the key `last`, and the bytes and lines that it takes.

    Keys are in lower case. Raises UserError for a line that is no field, or a field given twice.
    """
    fields: dict[str, bytes] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(BLOCK_BYTES), b""), start=1):
            key, value = (part.strip() for part in re.split(b"[=:]|$", line, maxsplit=1))
            name = key.decode("ascii", "replace").lower()
            sound = re.fullmatch(HEADER_LINE, line.strip()) and name.isprintable()
            repeated = name in fields and name in UNIQUE_FIELDS
            if not sound or repeated or file.tell() > BLOCK_BYTES:
                break
            fields[name] = value
            if name == last.lower() and len(fields) > 1:
                return fields, file.tell(), number
    suffix = path.suffix.lower()
    with open(path, "rb") as file:
        start = file.read(BLOCK_BYTES)
    if not start.startswith(TEXT_MAGICS[suffix]):
        refuse_other_content(path, start)
    raise UserError.at(path, f"not a {suffix} image with its voxels inside", EXPORT_AGAIN)


def _known_fields(
    path: Path, fields: dict[str, bytes], patterns: dict[str, bytes], required: tuple[str, ...]
) -> dict[str, bytes]:
    """The fields that have a pattern. Raises UserError if a value does not match it."""
    known = {name: fields[name.lower()] for name in patterns if name.lower() in fields}
    for name in (*known, *required):
        if not re.fullmatch(patterns[name], known.get(name, b""), re.IGNORECASE):
            what = f"{name} in its header is missing or makes no sense"
            raise UserError.at(path, what, EXPORT_AGAIN)
    return known


def _field_lines(fields: dict[str, bytes], between: bytes) -> bytes:
    return b"".join(name.encode() + between + value + b"\n" for name, value in fields.items())
