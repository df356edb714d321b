"""Read, check, orient and write one volume.

Scans stay SimpleITK images, so that size, spacing (mm), origin and direction travel with the
voxels. The canonical orientation is sagittal: the array axes run right to left (slices), superior
to inferior (rows) and anterior to posterior (columns).
"""

import gzip
import math
import re
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write

EXTENSIONS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
}
CANONICAL = "PIL"  # x grows towards posterior, y towards inferior, z towards the left
MAX_VOXELS = 512**3  # fourteen times the largest volume of the paper
SPACING = (1e-3, 1e3)  # mm: what a voxel of a body can measure
FARTHEST = 1e6  # mm
TINY = 1e-12  # ITK takes a slope next to 0 for none
SURPLUS = 1 << 12  # bytes: what a file may hold beyond its voxels, less than a column of a scan
DEFLATE = 32 + zlib.MAX_WBITS  # a gzip or a zlib stream
DEFLATE_LIMIT = 1032  # the most that a deflate stream can expand
BLOCK = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"
NIFTI_HEADER = 348
NIFTI_VOXELS = 352
NIFTI_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}

# What ITK is told of a text header: only these fields, and only when their values match. Given a
# file's own header it can crash, read the wrong bytes or print.
NUMBER = rb"[-+]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})(e[-+]?\d{1,2})?"  # ITK cannot invert 1e-309
THREE = rb"NUMBER\s+NUMBER\s+NUMBER".replace(b"NUMBER", NUMBER)
NINE = rb"THREE\s+THREE\s+THREE".replace(b"THREE", THREE)
VECTOR = rb"\(\s*NUMBER\s*,\s*NUMBER\s*,\s*NUMBER\s*\)".replace(b"NUMBER", NUMBER)
COUNTS = rb"\d{1,9}\s+\d{1,9}\s+\d{1,9}"
TRUE_OR_FALSE = rb"true|false|t|f|1|0"
META_FIELDS = {
    "DimSize": COUNTS,
    "ElementType": rb"MET_(U?(CHAR|SHORT|INT|LONG|LONG_LONG)|FLOAT|DOUBLE)",
    **dict.fromkeys(("ElementSpacing", "ElementSize"), THREE),
    **dict.fromkeys(("Offset", "Position", "Origin"), THREE),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), NINE),
    **dict.fromkeys(("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), TRUE_OR_FALSE),
    **dict.fromkeys(("BinaryData", "CompressedData"), TRUE_OR_FALSE),
    "ElementNumberOfChannels": rb"1",
    "HeaderSize": rb"0",
}
NRRD_FIELDS = {
    "type": rb"((un)?signed )?(char|short|int|long long|long long int|short int)"
    rb"|u?(char|short|int|longlong)|u?int(8|16|32|64)(_t)?|float|double",
    "sizes": COUNTS,
    "encoding": rb"raw|gzip|gz",
    "endian": rb"little|big",
    "space": rb"[a-z0-9-]{1,40}",
    "space dimension": rb"3",
    "space directions": rb"V\s+V\s+V".replace(b"V", VECTOR),
    "space origin": VECTOR,
    "spacings": THREE,
    **dict.fromkeys(("axis mins", "axismins", "axis maxs", "axismaxs"), THREE),
    **dict.fromkeys(("byte skip", "byteskip", "line skip", "lineskip"), rb"0"),
}
META_ALIASES = (
    ("Offset", "Position", "Origin"),
    ("TransformMatrix", "Rotation", "Orientation"),
    ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
)
TEXT_LINE = rb"(NRRD\d{4}|#.*)?|[ -~]*?[=:].*"  # a comment or blank, or a field
ONCE = {name.lower() for name in (*META_FIELDS, *NRRD_FIELDS)}
ONCE |= {"ndims", "elementdatafile", "dimension", "kinds", "data file", "datafile"}
VOXELS = "voxels"  # what a header for ITK calls the file

COPY = "copy it again"
DETACHED = ("its voxels are in another file", "save header and voxels in one")
EXPORT = "export it again"
GRAY = "save one gray-scale value a voxel"
ONE_VOLUME = "save one 3-D volume a file"
NOT_FINITE = ("holds NaN or infinite values", EXPORT)
NOT_A_GRID = "spacing or position is not a number, or spacing is not above 0"
SEVERAL = ("several numbers a voxel", GRAY)

orientation = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines

# Files that ITK reads in two threads at once can crash it: github.com/SimpleITK/SimpleITK/issues/74
ONE_AT_A_TIME = Lock()

# ITK's warnings go to stderr, past Python; what they warn of is refused below.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def extension(path: Path) -> str | None:
    """The known extension that a file's name ends in, or None."""
    return next((known for known in EXTENSIONS if path.name.endswith(known)), None)


def read_scan(path: Path) -> sitk.Image:
    """An MR volume as stored: 3-D, one number a voxel, finite and not constant.

    Raises UserError for anything else.
    """
    return as_scan(read_volume(path), path)


def as_scan(image: sitk.Image, path: Path) -> sitk.Image:
    """The image itself; UserError, naming `path`, where all its voxels are equal."""
    values = sitk.GetArrayViewFromImage(image)
    if values.min() == values.max():
        raise UserError.at(path, f"every voxel is {values.flat[0]}", EXPORT)
    return image


def read_mask(path: Path) -> sitk.Image:
    """A label volume as stored, in UInt8 (UInt16 when a label exceeds 255).

    Floats are accepted when they hold integers. Raises UserError for fractions, negative values
    and everything that `read_volume` refuses.
    """
    return as_labels(read_volume(path), path)


def as_labels(image: sitk.Image, path: Path) -> sitk.Image:
    """The image cast to UInt8 or UInt16; UserError, naming `path`, where that would lose values."""
    values = sitk.GetArrayViewFromImage(image)
    remedy = "save the mask with whole-number labels from 0 up"
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise UserError.at(path, "mask values are not whole numbers", remedy)
    low, high = values.min(), values.max()
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise UserError.at(path, f"mask values run from {low:g} to {high:g}", remedy)
    return sitk.Cast(image, sitk.sitkUInt8 if high <= np.iinfo(np.uint8).max else sitk.sitkUInt16)


def read_volume(path: Path) -> sitk.Image:
    """Any 3-D volume of finite numbers, as stored; the header is checked before the voxels.

    Refused, with a UserError: other file types than `EXTENSIONS`; a header that claims more than
    `MAX_VOXELS` or more than the file can hold, or far less than it holds; truncated or damaged
    files; voxels kept in a second file; 2-D (also a single slice), 4-D, colour and complex images;
    spacing outside `SPACING`, places beyond `FARTHEST` and axes that are not at right angles; NaN
    or infinite values. Where the two positions that NIfTI can state disagree, ITK takes the sform
    if its code is 1 and its axes are at right angles, otherwise the qform.
    """
    path = Path(path)
    with _one_line(path), _open(path) as reader, ONE_AT_A_TIME:
        image = reader.Execute()
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError.at(path, *NOT_FINITE)
    return image


def canonical_shape(path: Path) -> tuple[int, int, int]:
    """(slices, rows, columns) of the canonical volume, from a file's header alone.

    Raises UserError for a header that `read_volume` refuses.
    """
    path = Path(path)
    with _one_line(path), _open(path) as reader:
        axes = orientation(reader.GetDirection()).translate(str.maketrans("LIP", "RSA"))
    size = dict(zip(axes, reader.GetSize(), strict=True))
    return size["R"], size["S"], size["A"]


def to_canonical(image: sitk.Image) -> sitk.Image:
    """Reorder and flip the axes to slices R-L, rows S-I, columns A-P; no value is interpolated.

    Oblique volumes go by the anatomical axis nearest to each of theirs.
    """
    return sitk.DICOMOrient(image, CANONICAL)


def from_canonical(image: sitk.Image, like: sitk.Image) -> sitk.Image:
    """Bring a canonical image back to the axes and the exact geometry of `like`.

    Raises ValueError when `image` does not lie on the grid of `to_canonical(like)`.
    """
    if mismatch := geometry_mismatch(image, to_canonical(like)):
        raise ValueError(f"not the canonical image of this scan: {mismatch}")
    # By the axes themselves: an oblique volume's orientation code does not lead back to them.
    axes = [np.reshape(each.GetDirection(), (3, 3)) for each in (like, image)]
    turn = np.rint(np.linalg.inv(axes[0]) @ axes[1])  # rows: axes of `like`, columns: of `image`
    order = np.abs(turn).argmax(axis=1)
    backwards = turn[range(3), order] < 0
    restored = sitk.Flip(sitk.PermuteAxes(image, order.tolist()), backwards.tolist())
    restored.CopyInformation(like)
    return restored


def geometry_mismatch(image: sitk.Image, reference: sitk.Image, tolerance: float = 0.1) -> str:
    """How the voxel grid of one volume departs from another's; empty when it does not.

    Grids agree when sizes are equal and corresponding voxels lie within `tolerance` of the
    reference's smallest spacing.
    """
    if image.GetSize() != reference.GetSize():
        sizes = [" x ".join(map(str, each.GetSize())) for each in (image, reference)]
        return f"size {sizes[0]} instead of {sizes[1]}"
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.GetSize()) - 1)
    here, there = (
        np.array([each.TransformIndexToPhysicalPoint(corner.tolist()) for corner in corners])
        for each in (image, reference)
    )
    offset = np.linalg.norm(here - there, axis=1).max()
    if offset <= tolerance * min(reference.GetSpacing()):
        return ""
    return f"voxels up to {offset:.3g} mm apart (spacing, origin or direction)"


def write_image(image: sitk.Image, path: Path) -> None:
    """Write compressed, in the format of the extension; the file appears complete or not at all.

    Raises UserError for a name that cannot be written, OSError where there is no room.
    """
    path = Path(path)
    _suffix(path)
    with atomic_write(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        try:
            with _open(temporary):
                pass
        except (UserError, zlib.error):  # ITK does not tell when a disk is full in mid-NIfTI
            raise OSError("cut short") from None


def check_target(path: Path) -> None:
    """Raise UserError where `write_image` could not write: unknown type or no such folder."""
    _suffix(path)
    if not path.parent.is_dir():
        raise UserError.at(path, "its folder does not exist", "make it first, or write elsewhere")


def _suffix(path: Path) -> str:
    suffix = extension(path)
    if suffix is None:
        raise UserError.at(path, "not a known image type", f"use one of {' '.join(EXTENSIONS)}")
    try:
        str(path).encode()
    except UnicodeEncodeError:  # SimpleITK aborts the process
        raise UserError.at(path, "its name is not valid UTF-8", "rename it") from None
    return suffix


class _Payload(NamedTuple):
    """Where a file keeps its voxels."""

    path: Path
    start: int  # of the raw or compressed bytes
    compressed: bool
    skip: int = 0  # raw bytes from there to the first voxel
    dtype: np.dtype | None = None  # known for NIfTI, whose voxels may widen in memory
    header: bytes = b""  # what ITK reads in place of the file's own header

    def for_itk(self, folder: Path) -> Path:
        """What ITK is to open in that folder: a link to the file, or `header`, which names it.

        In the file's own folder ITK takes the voxels of x.nii.gz from x.nii, if that is there.
        """
        link = folder / (VOXELS if self.header else f"x{extension(self.path)}")
        link.symlink_to(self.path.resolve())
        if not self.header:
            return link
        detached = folder / ("x.mhd" if self.path.suffix == ".mha" else "x.nhdr")
        detached.write_bytes(self.header)
        return detached

    def surplus(self, size: int) -> int:
        """How many bytes are there beyond `size` bytes of voxels; less than 0: too few.

        Stops counting past `SURPLUS`. Raises zlib.error for damaged compressed bytes.
        """
        needed = self.skip + size
        stored = self.path.stat().st_size - self.start
        if not self.compressed or needed > DEFLATE_LIMIT * stored:
            return stored - needed
        held = 0
        for piece in self._inflated():
            held += len(piece)
            if held > needed + SURPLUS:
                break
        return held - needed

    def _inflated(self) -> Iterator[bytes]:
        """The decompressed bytes, a block at a time; a stream that breaks off is a zlib.error."""
        stream = zlib.decompressobj(DEFLATE)
        pending = b""
        with open(self.path, "rb") as file:
            file.seek(self.start)
            while pending := pending or file.read(BLOCK):
                if stream.eof:  # padding, or one more gzip member
                    if not (pending := pending.lstrip(b"\0")):
                        continue
                    stream = zlib.decompressobj(DEFLATE)
                yield stream.decompress(pending, BLOCK)
                pending = stream.unconsumed_tail or stream.unused_data
        yield stream.flush()
        if not stream.eof:
            raise zlib.error("truncated")

    def is_finite(self, voxels: int) -> bool:
        """False where NIfTI's floats are not all numbers: the ITK reader puts 0 in their place."""
        if self.dtype is None or self.dtype.kind != "f":
            return True
        with gzip.open(self.path) if self.compressed else open(self.path, "rb") as file:
            file.seek(self.skip)
            for first in range(0, voxels, BLOCK):
                block = file.read(min(BLOCK, voxels - first) * self.dtype.itemsize)
                if not np.isfinite(np.frombuffer(block, self.dtype)).all():
                    return False
        return True


@contextmanager
def _open(path: Path) -> Iterator[sitk.ImageFileReader]:
    """A reader that has only the header in memory, and the header checked."""
    suffix = _suffix(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise UserError.at(path, what, "check the name")
    payload = {".mha": _meta_payload, ".nrrd": _nrrd_payload}.get(suffix, _nifti_payload)(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(EXTENSIONS[suffix])
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        reader.SetFileName(str(payload.for_itk(Path(folder))))
        with ONE_AT_A_TIME:
            reader.ReadImageInformation()
        _check_claim(reader, payload)
        _check_place(reader, path)
        yield reader


def _check_claim(reader: sitk.ImageFileReader, payload: _Payload) -> None:
    """Refuse by the header alone, before memory is taken for the voxels."""
    size = reader.GetSize()
    shape = " x ".join(map(str, size))
    voxels = math.prod(size)
    if voxels > MAX_VOXELS:
        raise UserError.at(payload.path, f"the header claims {shape} voxels", EXPORT)
    if len(size) != 3 or min(size) < 2:
        raise UserError.at(payload.path, f"{shape} voxels are not a 3-D volume", ONE_VOLUME)
    if reader.GetNumberOfComponents() != 1:
        raise UserError.at(payload.path, *SEVERAL)
    in_memory = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    surplus = payload.surplus(voxels * (payload.dtype.itemsize if payload.dtype else in_memory))
    if surplus < 0:
        what = f"truncated: the header claims {shape} voxels, more than the file holds"
        raise UserError.at(payload.path, what, COPY)
    if surplus > SURPLUS:
        what = f"the header claims {shape} voxels, far less than the file holds"
        raise UserError.at(payload.path, what, EXPORT)
    if not payload.is_finite(voxels):
        raise UserError.at(payload.path, *NOT_FINITE)


def _check_place(reader: sitk.ImageFileReader, path: Path) -> None:
    """Refuse a grid that cannot be one in millimetres about a patient."""
    spacing, origin = reader.GetSpacing(), reader.GetOrigin()
    axes = np.reshape(reader.GetDirection(), (3, 3))
    if not np.isfinite((*spacing, *origin, *axes.flat)).all() or min(spacing) <= 0:
        raise UserError.at(path, NOT_A_GRID, EXPORT)
    if min(spacing) < SPACING[0] or max(spacing) > SPACING[1]:
        words = " x ".join(f"{mm:.3g}" for mm in spacing)
        raise UserError.at(path, f"a spacing of {words} mm is no scan's", EXPORT)
    if max(map(abs, origin)) > FARTHEST:
        raise UserError.at(path, "its position is more than a kilometre away", EXPORT)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-3):
        raise UserError.at(path, "its axes are not at right angles", "resample it on a plain grid")


def _nifti_payload(path: Path) -> _Payload:
    """Check the fixed header of NIfTI-1: the ITK reader repairs or ignores what is refused here."""
    with open(path, "rb") as file:
        header = file.read(BLOCK)
    compressed = path.name.endswith(".gz")
    if header and compressed != header.startswith(GZIP_MAGIC):
        what = "not compressed by gzip" if compressed else "compressed by gzip"
        raise UserError.at(path, f"{what}, against its name", "rename it or copy it again")
    if compressed:
        header = zlib.decompressobj(DEFLATE).decompress(header, NIFTI_HEADER)
    if header[NIFTI_HEADER - 4 : NIFTI_HEADER] != b"n+1\0":
        raise UserError.at(path, "not a NIfTI-1 file", EXPORT)
    order = "<" if header[:4] == struct.pack("<i", NIFTI_HEADER) else ">"
    rank, *dims = struct.unpack_from(f"{order}8h", header, 40)
    if not 1 <= rank <= 7 or min(dims[:rank]) < 1:
        raise UserError.at(path, "the header gives an impossible size", EXPORT)
    (datatype,) = struct.unpack_from(f"{order}h", header, 70)
    if datatype not in NIFTI_TYPES:
        raise UserError.at(path, f"NIfTI datatype {datatype} is not one real number a voxel", GRAY)
    spacing = struct.unpack_from(f"{order}3f", header, 80)[:rank]
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    qform, sform = struct.unpack_from(f"{order}2h", header, 252)
    placement = (
        *(struct.unpack_from(f"{order}6f", header, 256) if qform > 0 else ()),
        *(struct.unpack_from(f"{order}12f", header, 280) if sform > 0 else ()),
    )
    if not np.isfinite((*spacing, *placement, offset)).all() or min(spacing) <= 0:
        raise UserError.at(path, NOT_A_GRID, EXPORT)
    if offset < NIFTI_VOXELS or offset != int(offset):
        raise UserError.at(path, f"its voxels cannot begin at byte {offset:g}", EXPORT)
    slope, intercept = struct.unpack_from(f"{order}2f", header, 112)
    if slope and not (np.isfinite((slope, intercept)).all() and abs(slope) > TINY):
        raise UserError.at(path, f"its voxels are scaled by {slope:g} plus {intercept:g}", EXPORT)
    if sform == 1 or (sform > 1 and qform <= 0):  # ITK takes its directions, never its lengths
        lengths = np.linalg.norm(np.reshape(placement[-12:], (3, 4))[:, :3], axis=0)
        if not np.allclose(lengths[: len(spacing)], spacing[:3], rtol=1e-3):
            raise UserError.at(path, "its header gives two spacings that differ", EXPORT)
    dtype = np.dtype(order + NIFTI_TYPES[datatype])
    return _Payload(path, 0, compressed, int(offset), dtype)


def _meta_payload(path: Path) -> _Payload:
    fields, end, _ = _text_header(path, last="ElementDataFile")
    if fields.get("ndims") != b"3":
        raise UserError.at(path, "not a 3-D volume", ONE_VOLUME)
    if fields["elementdatafile"] != b"LOCAL":
        raise UserError.at(path, *DETACHED)
    if fields.get("elementnumberofchannels", b"1") != b"1":
        raise UserError.at(path, *SEVERAL)
    known = _checked(path, fields, META_FIELDS, required=("DimSize", "ElementType"))
    for names in META_ALIASES:
        if len({tuple(known[name].lower().split()) for name in names if name in known}) > 1:
            raise UserError.at(path, f"its header gives two of {', '.join(names)}", EXPORT)
    if not known.pop("BinaryData", b"true").lower().startswith((b"t", b"1")):
        raise UserError.at(path, "its voxels are written as text", "save them as binary")
    compressed = known.pop("CompressedData", b"false").lower().startswith((b"t", b"1"))
    known |= {"HeaderSize": b"%d" % end, "CompressedData": b"%d" % compressed}
    known["CompressedDataSize"] = b"%d" % (path.stat().st_size - end)
    first = b"ObjectType = Image\nNDims = 3\nBinaryData = True\n"
    last = f"ElementDataFile = {VOXELS}\n".encode()
    header = first + _lines(known, b" = ") + last
    return _Payload(path, end, compressed, header=header)


def _nrrd_payload(path: Path) -> _Payload:
    fields, end, lines = _text_header(path, last="")
    if "data file" in fields or "datafile" in fields:
        raise UserError.at(path, *DETACHED)
    if fields.get("encoding", b"").lower() not in (b"raw", b"gzip", b"gz"):
        raise UserError.at(path, "its voxels are neither raw nor gzip", "save them as raw or gzip")
    if not set(fields.get("kinds", b"").lower().split()) <= {b"domain", b"space"}:
        raise UserError.at(path, *SEVERAL)
    if fields.get("dimension") != b"3":
        raise UserError.at(path, "not a 3-D volume", ONE_VOLUME)
    known = _checked(path, fields, NRRD_FIELDS, required=("type", "sizes", "encoding"))
    known |= {"line skip": b"%d" % lines, "data file": VOXELS.encode()}
    header = b"NRRD0004\ndimension: 3\n" + _lines(known, b": ")
    return _Payload(path, end, known["encoding"].lower() != b"raw", header=header)


def _text_header(path: Path, last: str) -> tuple[dict[str, bytes], int, int]:
    """The fields up to the line whose key is `last`: in bytes and in lines, where that ends.

    Keys are in lower case. A field that stands there twice is refused.
    """
    fields: dict[str, bytes] = {}
    with open(path, "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(BLOCK), b""), start=1):
            key, value = (part.strip() for part in re.split(b"[=:]|$", line, maxsplit=1))
            name = key.decode("ascii", "replace").lower()
            sound = re.fullmatch(TEXT_LINE, line.strip()) and name.isprintable()
            if not sound or file.tell() > BLOCK or (name in fields and name in ONCE):
                break
            fields[name] = value
            if name == last.lower() and len(fields) > 1:
                return fields, file.tell(), number
    raise UserError.at(path, f"not a {path.suffix} image with its voxels inside", EXPORT)


def _checked(
    path: Path, fields: dict[str, bytes], patterns: dict[str, bytes], required: tuple[str, ...]
) -> dict[str, bytes]:
    """The fields that have a pattern, which they must match."""
    known = {name: fields[name.lower()] for name in patterns if name.lower() in fields}
    for name in (*known, *required):
        if not re.fullmatch(patterns[name], known.get(name, b""), re.IGNORECASE):
            raise UserError.at(path, f"{name} in its header is missing or makes no sense", EXPORT)
    return known


def _lines(fields: dict[str, bytes], between: bytes) -> bytes:
    return b"".join(name.encode() + between + value + b"\n" for name, value in fields.items())


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """Turn what Python and ITK raise for a bad file into a UserError."""
    try:
        yield
    except (OSError, zlib.error) as error:
        raise UserError.at(path, f"cannot be read ({_reason(error, path)})", COPY) from None
    except RuntimeError as error:
        raise UserError.at(path, f"not a valid image ({_reason(error, path)})", EXPORT) from None


def _reason(error: Exception, path: Path) -> str:
    """What went wrong, without ITK's source lines, object addresses and repeated file name."""
    text = re.split(r"ERROR: |\[nrrd\] ", str(error))[-1].replace(str(path), "file")
    text = re.sub(r"\S*/scan-\w+/\S+", "file", text)
    text = re.sub(r"\w+\(0x[0-9a-f]+\): |\[Errno \d+\] |Reason: .*", "", text)
    return " ".join(text.split())[:120]
