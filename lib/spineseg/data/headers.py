"""Guards against damaged files: check headers before ITK reads the voxels.

ITK trusts headers. A damaged one can crash it, make it read wrong bytes, or make it take memory for
voxels that do not exist. Each format is therefore checked here first, and ITK is given a file that
it can trust.
"""

import gzip
import math
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from spineseg.utils.errors import UserError

MAX_VOXELS = 512**3  # fourteen times the largest volume of the paper
SPACING_LIMITS_MM = (1e-3, 1e3)
MAX_OFFSET_MM = 1e6
RIGHT_ANGLE_TOLERANCE = 1e-3  # of the products of two unit axes
SPACING_TOLERANCE = 1e-3  # relative, between the two spacings of a NIfTI header
MIN_SLOPE = 1e-12  # ITK ignores a slope closer to 0
MAX_SURPLUS_BYTES = 1 << 12  # allowed beyond the voxels; less than one column of a scan

ZLIB_OR_GZIP = 32 + zlib.MAX_WBITS  # zlib's code for: detect which of the two
MAX_DEFLATE_RATIO = 1032  # a deflate stream cannot expand more than this
BLOCK_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"

NIFTI_HEADER_BYTES = 348
NIFTI_FIRST_VOXEL_BYTE = 352
NIFTI_TYPES = {
    **{2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8"},
    **{256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"},
}

# MHA and NRRD: ITK gets a new header with these fields only, and only if their values match.
NUMBER = rb"[-+]?(\d{1,40}\.?\d{0,40}|\.\d{1,40})(e[-+]?\d{1,2})?"  # ITK cannot invert 1e-309
THREE_NUMBERS = rb"NUMBER\s+NUMBER\s+NUMBER".replace(b"NUMBER", NUMBER)
NINE_NUMBERS = rb"THREE\s+THREE\s+THREE".replace(b"THREE", THREE_NUMBERS)
VECTOR = rb"\(\s*NUMBER\s*,\s*NUMBER\s*,\s*NUMBER\s*\)".replace(b"NUMBER", NUMBER)
THREE_COUNTS = rb"\d{1,9}\s+\d{1,9}\s+\d{1,9}"
BOOLEAN = rb"true|false|t|f|1|0"
MHA_FIELDS = {
    "DimSize": THREE_COUNTS,
    "ElementType": rb"MET_(U?(CHAR|SHORT|INT|LONG|LONG_LONG)|FLOAT|DOUBLE)",
    **dict.fromkeys(("ElementSpacing", "ElementSize"), THREE_NUMBERS),
    **dict.fromkeys(("Offset", "Position", "Origin"), THREE_NUMBERS),
    **dict.fromkeys(("TransformMatrix", "Rotation", "Orientation"), NINE_NUMBERS),
    **dict.fromkeys(("BinaryDataByteOrderMSB", "ElementByteOrderMSB"), BOOLEAN),
    **dict.fromkeys(("BinaryData", "CompressedData"), BOOLEAN),
    "ElementNumberOfChannels": rb"1",
    "HeaderSize": rb"0",
}
MHA_SYNONYMS = (
    ("Offset", "Position", "Origin"),
    ("TransformMatrix", "Rotation", "Orientation"),
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
VOXEL_FILE = "voxels"  # what a header for ITK calls the file

COPY_AGAIN = "copy it again"
EXPORT_AGAIN = "export it again"
SAVE_GRAY = "save one gray-scale value per voxel"
SAVE_ONE_VOLUME = "save one 3-D volume per file"
INVALID_GRID = "spacing or position is not a number, or spacing is not above 0"

# What is wrong, and the remedy.
NOT_FINITE = ("holds NaN or infinite values", EXPORT_AGAIN)
SEVERAL_NUMBERS = ("several numbers per voxel", SAVE_GRAY)
NOT_3D = ("not a 3-D volume", SAVE_ONE_VOLUME)
DETACHED = ("its voxels are in another file", "save header and voxels in one")


class StoredVoxels(NamedTuple):
    """Where and how a file stores its voxels."""

    path: Path
    start: int  # byte of the file at which the raw or compressed bytes begin
    compressed: bool
    skip: int = 0  # raw bytes from there to the first voxel
    dtype: np.dtype | None = None  # for NIfTI, whose voxels may become wider in memory
    header: bytes = b""  # what ITK reads in place of the file's own header; empty for NIfTI

    def prepare_for_itk(self, folder: Path) -> Path:
        """Make the file that ITK is to open, in an empty folder.

        It is the scan itself under another name, or `header`, which refers to the scan. In the
        scan's own folder, ITK would read the voxels of x.nii.gz from x.nii if that exists.
        """
        if not self.header:
            link = folder / ("x.nii.gz" if self.compressed else "x.nii")
            _link_or_copy(self.path, link)
            return link
        _link_or_copy(self.path, folder / VOXEL_FILE)
        header = folder / ("x.mhd" if self.path.suffix == ".mha" else "x.nhdr")
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

    def is_finite(self, voxels: int) -> bool:
        """Whether all floats of a NIfTI file are finite. ITK would replace the others by 0."""
        if self.dtype is None or self.dtype.kind != "f":
            return True
        with gzip.open(self.path) if self.compressed else open(self.path, "rb") as file:
            file.seek(self.skip)
            for first in range(0, voxels, BLOCK_BYTES):
                block = file.read(min(BLOCK_BYTES, voxels - first) * self.dtype.itemsize)
                if not np.isfinite(np.frombuffer(block, self.dtype)).all():
                    return False
        return True


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


def locate_voxels(path: Path) -> StoredVoxels:
    """Check the header of a .nii, .nii.gz, .mha or .nrrd file and find its voxels.

    Raises UserError for a header that ITK would misread or repair; OSError or zlib.error if the
    file cannot be read.
    """
    return {".mha": _locate_mha, ".nrrd": _locate_nrrd}.get(path.suffix, _locate_nifti)(path)


def check_size(reader: sitk.ImageFileReader, stored: StoredVoxels) -> None:
    """Raise UserError unless the header describes one gray-scale volume that the file holds.

    Needs the header alone, so no memory is taken for the voxels.
    """
    size = reader.GetSize()
    shape = " x ".join(map(str, size))
    voxels = math.prod(size)
    if voxels > MAX_VOXELS:
        raise UserError.at(stored.path, f"the header claims {shape} voxels", EXPORT_AGAIN)
    if len(size) != 3 or min(size) < 2:
        raise UserError.at(stored.path, f"{shape} voxels are not a 3-D volume", SAVE_ONE_VOLUME)
    if reader.GetNumberOfComponents() != 1:
        raise UserError.at(stored.path, *SEVERAL_NUMBERS)
    in_memory = sitk.Image([1, 1, 1], reader.GetPixelID()).GetSizeOfPixelComponent()
    surplus = stored.surplus_bytes(voxels * (stored.dtype.itemsize if stored.dtype else in_memory))
    if surplus < 0:
        what = f"truncated: the header claims {shape} voxels, more than the file holds"
        raise UserError.at(stored.path, what, COPY_AGAIN)
    if surplus > MAX_SURPLUS_BYTES:
        what = f"the header claims {shape} voxels, far less than the file holds"
        raise UserError.at(stored.path, what, EXPORT_AGAIN)
    if not stored.is_finite(voxels):
        raise UserError.at(stored.path, *NOT_FINITE)


def check_geometry(reader: sitk.ImageFileReader, path: Path) -> None:
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
    if not np.allclose(axes.T @ axes, np.eye(3), atol=RIGHT_ANGLE_TOLERANCE):
        raise UserError.at(path, "its axes are not at right angles", "resample it on a plain grid")


def _locate_nifti(path: Path) -> StoredVoxels:
    """Check the header of NIfTI-1. ITK repairs or ignores what is refused here."""
    header, compressed = _nifti_header(path)
    order = "<" if header[:4] == struct.pack("<i", NIFTI_HEADER_BYTES) else ">"
    rank, *dims = struct.unpack_from(f"{order}8h", header, 40)
    if not 1 <= rank <= 7 or min(dims[:rank]) < 1:
        raise UserError.at(path, "the header gives an impossible size", EXPORT_AGAIN)
    (datatype,) = struct.unpack_from(f"{order}h", header, 70)
    if datatype not in NIFTI_TYPES:
        what = f"NIfTI datatype {datatype} is not one real number per voxel"
        raise UserError.at(path, what, SAVE_GRAY)
    spacing = struct.unpack_from(f"{order}3f", header, 80)[:rank]
    (offset,) = struct.unpack_from(f"{order}f", header, 108)
    qform, sform = struct.unpack_from(f"{order}2h", header, 252)
    placement = (
        *(struct.unpack_from(f"{order}6f", header, 256) if qform > 0 else ()),
        *(struct.unpack_from(f"{order}12f", header, 280) if sform > 0 else ()),
    )
    if not np.isfinite((*spacing, *placement, offset)).all() or min(spacing) <= 0:
        raise UserError.at(path, INVALID_GRID, EXPORT_AGAIN)
    if offset < NIFTI_FIRST_VOXEL_BYTE or offset != int(offset):
        raise UserError.at(path, f"its voxels cannot begin at byte {offset:g}", EXPORT_AGAIN)
    slope, intercept = struct.unpack_from(f"{order}2f", header, 112)
    if slope and not (np.isfinite((slope, intercept)).all() and abs(slope) > MIN_SLOPE):
        what = f"its voxels are scaled by {slope:g} plus {intercept:g}"
        raise UserError.at(path, what, EXPORT_AGAIN)
    if sform == 1 or (sform > 1 and qform <= 0):  # ITK uses its directions, but not its spacing
        lengths = np.linalg.norm(np.reshape(placement[-12:], (3, 4))[:, :3], axis=0)
        if not np.allclose(lengths[: len(spacing)], spacing[:3], rtol=SPACING_TOLERANCE):
            raise UserError.at(path, "its header gives two different spacings", EXPORT_AGAIN)
    dtype = np.dtype(order + NIFTI_TYPES[datatype])
    return StoredVoxels(path, 0, compressed, int(offset), dtype)


def _nifti_header(path: Path) -> tuple[bytes, bool]:
    """The first bytes of a NIfTI-1 file, decompressed, and whether the file is compressed."""
    with open(path, "rb") as file:
        header = file.read(BLOCK_BYTES)
    compressed = path.name.endswith(".gz")
    if header and compressed != header.startswith(GZIP_MAGIC):
        what = "not compressed by gzip" if compressed else "compressed by gzip"
        raise UserError.at(path, f"{what}, against its name", "rename it or copy it again")
    if compressed:
        header = zlib.decompressobj(ZLIB_OR_GZIP).decompress(header, NIFTI_HEADER_BYTES)
    if header[NIFTI_HEADER_BYTES - 4 : NIFTI_HEADER_BYTES] != b"n+1\0":
        raise UserError.at(path, "not a NIfTI-1 file", EXPORT_AGAIN)
    return header, compressed


def _locate_mha(path: Path) -> StoredVoxels:
    fields, end, _ = _read_fields(path, last="ElementDataFile")
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
    compressed = known.pop("CompressedData", b"false").lower().startswith((b"t", b"1"))
    known |= {"HeaderSize": b"%d" % end, "CompressedData": b"%d" % compressed}
    known["CompressedDataSize"] = b"%d" % (path.stat().st_size - end)
    first = b"ObjectType = Image\nNDims = 3\nBinaryData = True\n"
    last = f"ElementDataFile = {VOXEL_FILE}\n".encode()
    header = first + _field_lines(known, b" = ") + last
    return StoredVoxels(path, end, compressed, header=header)


def _locate_nrrd(path: Path) -> StoredVoxels:
    fields, end, lines = _read_fields(path, last="")
    if "data file" in fields or "datafile" in fields:
        raise UserError.at(path, *DETACHED)
    if fields.get("encoding", b"").lower() not in (b"raw", b"gzip", b"gz"):
        raise UserError.at(path, "its voxels are neither raw nor gzip", "save them as raw or gzip")
    if not set(fields.get("kinds", b"").lower().split()) <= {b"domain", b"space"}:
        raise UserError.at(path, *SEVERAL_NUMBERS)
    if fields.get("dimension") != b"3":
        raise UserError.at(path, *NOT_3D)
    known = _known_fields(path, fields, NRRD_FIELDS, required=("type", "sizes", "encoding"))
    known |= {"line skip": b"%d" % lines, "data file": VOXEL_FILE.encode()}
    header = b"NRRD0004\ndimension: 3\n" + _field_lines(known, b": ")
    return StoredVoxels(path, end, known["encoding"].lower() != b"raw", header=header)


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
    raise UserError.at(path, f"not a {path.suffix} image with its voxels inside", EXPORT_AGAIN)


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
