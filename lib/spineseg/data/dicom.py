"""DICOM series: files grouped by what they hold, checked by their headers, read as one volume.

Nothing is taken from file names or from their order: scanners and archives name files as they like.
"""

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.volume import COPY, EXPORT, GRAY, MAX_VOXELS, NOT_FINITE, ONE_AT_A_TIME, as_scan
from spineseg.utils.errors import UserError

IMAGE_IO = "GDCMImageIO"
MAGIC = b"DICM"
PREAMBLE = 128  # bytes before it
NAMED = (".dcm", ".ima")  # what claims to be DICOM without it
META = 1024  # bytes that hold the file's own description, which precedes all else
STORAGE_CLASS, TRANSFER_SYNTAX = b"\x02\x00\x02\x00", b"\x02\x00\x10\x00"
IMPLICIT, EXPLICIT, BIG_ENDIAN = (f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".2"))
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
DEFLATED = "1.2.840.10008.1.2.1.99"
LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
OWN_KINDS = (b"AE", b"OB", b"SH", b"UI", b"UL", b"UR")  # in a file's own description
PIXELS, ITEMS = (0x7FE0, 0x0010), 0xFFFE
UNDEFINED = 0xFFFFFFFF  # a length that is told by what ends it
# Directories, raw data, presentation states, reports and documents.
NO_IMAGE = (
    "1.2.840.10008.1.3.10",
    *(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("66", "11.", "88.", "104.")),
)
PATIENT, SERIES, POSITION, AXES = "0010|0020", "0020|000e", "0020|0032", "0020|0037"
ALIKE = 1e-3  # how far spacing (mm) and directions may differ from slice to slice
SAMPLES, BITS = "0028|0002", "0028|0100"  # numbers a voxel, bits a number, as stored
UNEVEN = 0.05  # how far a slice may lie from its place, as a fraction of the distance of two
WHOLE_SERIES = "give the folder that holds the whole series"
ONE_SLICE = "export the series with one slice a file"


@dataclass(frozen=True)
class Slice:
    """What the header of one file says."""

    path: Path
    series: str
    patient: str
    size: tuple[int, ...]  # columns, rows, frames
    spacing: tuple[float, ...]  # mm between columns, between rows
    position: tuple[float, ...]  # mm, of the first voxel; empty where it is not told
    axes: tuple[float, ...]  # directions along a row and down a column; empty likewise
    components: int
    type: int  # of a voxel in memory


@dataclass
class Found:
    """The series among some files, by their UID; files that cannot be read; and all the others."""

    series: dict[str, list[Slice]] = field(default_factory=dict)
    faults: list[UserError] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)


def find_series(files: Iterable[Path]) -> Found:
    """Group files by their series; never raises for what they hold."""
    found = Found()
    for path in files:
        try:
            if not _is_dicom(path):
                found.strays.append(path)
                continue
            head = read_slice(path)
            found.series.setdefault(head.series, []).append(head)
        except UserError as error:
            found.faults.append(error)
    return found


def _is_dicom(path: Path) -> bool:
    """Whether a file is, or by its name claims to be, a DICOM file with an image."""
    head = _head(path)
    if not head[PREAMBLE:].startswith(MAGIC):
        return path.suffix.lower() in NAMED
    return not _meta(head, STORAGE_CLASS).startswith(NO_IMAGE)


def _head(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(META)
    except OSError as error:
        raise UserError.at(path, f"cannot be read ({error.strerror})", COPY) from None


def _meta(head: bytes, tag: bytes) -> str:
    """A UID of the file's own description, or ''."""
    found = re.search(re.escape(tag) + rb"UI..([0-9.]+)", head, re.DOTALL)
    return found[1].decode() if found else ""


def read_slice(path: Path) -> Slice:
    """The header of a DICOM file with an image; UserError where it has none that can be read."""
    head = _head(path)
    if not head[PREAMBLE:].startswith(MAGIC):
        raise UserError.at(path, "not a DICOM file", COPY)
    syntax = _meta(head, TRANSFER_SYNTAX)
    if not syntax.startswith(IMPLICIT) or not _lengths_fit(path, syntax):
        raise UserError.at(path, "not a DICOM image, or damaged", COPY)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileName(str(path))
    try:
        with ONE_AT_A_TIME:
            reader.ReadImageInformation()
    except RuntimeError:
        raise UserError.at(path, "not a DICOM image, or damaged", COPY) from None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else ""

    series = text(SERIES)
    if not re.fullmatch("[0-9.]{1,64}", series):
        raise UserError.at(path, "does not tell which series it belongs to", EXPORT)
    size = reader.GetSize()
    (samples,), (bits,) = (_numbers(text(tag), 1) or (1,) for tag in (SAMPLES, BITS))
    plain = syntax in UNCOMPRESSED and samples == 1
    if plain and math.prod(size) * bits > 8 * path.stat().st_size:
        shape = " x ".join(map(str, size[:2]))
        what = f"truncated: the header claims {shape} voxels, more than the file holds"
        raise UserError.at(path, what, COPY)
    return Slice(
        path,
        series,
        text(PATIENT),
        size,
        reader.GetSpacing()[:2],
        _numbers(text(POSITION), 3),
        _numbers(text(AXES), 6),
        reader.GetNumberOfComponents(),
        reader.GetPixelID(),
    )


def _lengths_fit(path: Path, syntax: str) -> bool:
    """Whether no element claims more bytes than follow it: GDCM would take memory for them first.

    Elements are followed into sequences; where the encoding is unknown, the rest passes.
    """
    end = path.stat().st_size
    place = PREAMBLE + len(MAGIC)
    order, explicit, in_pixels = "<", True, False
    with open(path, "rb") as file:
        while place + 8 <= end:
            file.seek(place)
            raw = file.read(12).ljust(12, b"\0")
            own = raw[:2] == b"\x02\x00"  # the file's own description, always encoded alike
            if not own:
                if syntax == DEFLATED:
                    return True
                order, explicit = ">" if syntax == BIG_ENDIAN else "<", syntax != IMPLICIT
            tag = struct.unpack_from(f"{order}2H", raw)
            kind = raw[4:6] if explicit and tag[0] != ITEMS else b""
            if own and kind not in OWN_KINDS:
                return False
            if kind and not kind.isalpha():
                return True
            if kind and kind not in LONG:
                place, length = place + 8, struct.unpack_from(f"{order}H", raw, 6)[0]
            elif kind:
                place, length = place + 12, struct.unpack_from(f"{order}I", raw, 8)[0]
            else:
                place, length = place + 8, struct.unpack_from(f"{order}I", raw, 4)[0]
            if length == UNDEFINED:
                if kind == b"UN":
                    return True
                in_pixels = in_pixels or tag == PIXELS
            elif place + length > end:
                return False
            elif kind != b"SQ" and (tag[0] != ITEMS or in_pixels):
                place += length
    return True


def _numbers(text: str, count: int) -> tuple[float, ...]:
    """That many finite numbers, or none."""
    try:
        numbers = tuple(map(float, text.split("\\")))
    except ValueError:
        return ()
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else ()


def read_series(files: Sequence[Path]) -> sitk.Image:
    """The volume that these files make up, whatever their order.

    Raises UserError, naming the first file, unless they hold one gray-scale slice each, alike in
    size, spacing and direction, at even distances along their normal.
    """
    slices = in_order([read_slice(path) for path in files])
    first = files[0]
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileNames([str(each.path) for each in slices])
    try:
        with ONE_AT_A_TIME:
            image = reader.Execute()
    except RuntimeError:
        raise UserError.at(first, "a slice of its series cannot be read", COPY) from None
    if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
        raise UserError.at(first, *NOT_FINITE)
    return as_scan(image, first)


def in_order(slices: Sequence[Slice]) -> list[Slice]:
    """The slices of one volume, sorted along their normal; UserError where they are none."""
    first = slices[0]
    if odd := next((each for each in slices if each.components > 1), None):
        raise UserError.at(odd.path, "a colour image", GRAY)
    if odd := next((each for each in slices if math.prod(each.size[2:]) > 1), None):
        raise UserError.at(odd.path, f"{odd.size[2]} frames in one file", ONE_SLICE)
    if len(slices) == 1:
        raise UserError.at(first.path, "a single slice", WHOLE_SERIES)
    if odd := next((each for each in slices if not (each.position and each.axes)), None):
        raise UserError.at(odd.path, "does not tell where its slice lies", EXPORT)
    for what in ("size", "spacing", "axes", "type"):
        values = np.array([getattr(each, what) for each in slices])
        if np.ptp(values, axis=0).max() > ALIKE:
            raise UserError.at(
                first.path,
                f"the slices of its series differ in {what}",
                "export one volume a series",
            )
    voxels = math.prod(first.size[:2]) * len(slices)
    if voxels > MAX_VOXELS:
        raise UserError.at(first.path, f"the headers claim {voxels} voxels", EXPORT)
    return _evenly_spaced(slices)


def _evenly_spaced(slices: Sequence[Slice]) -> list[Slice]:
    first = slices[0].path
    normal = np.cross(slices[0].axes[:3], slices[0].axes[3:])
    positions = np.array([each.position for each in slices])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    step = float(np.median(gaps))
    if gaps.min() <= UNEVEN * step:
        what = f"two of its series' {len(slices)} slices lie in one place"
        raise UserError.at(first, what, "export one volume a series")
    if gaps.max() > (1 + UNEVEN) * step or gaps.min() < (1 - UNEVEN) * step:
        what = f"uneven spacing: slices {gaps.min():.3g} to {gaps.max():.3g} mm apart"
        raise UserError.at(first, what, "copy the series again, a slice may be missing")
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(sideways, axis=1).max() > UNEVEN * step:
        raise UserError.at(first, "the slices of its series are shifted sideways", EXPORT)
    return [slices[index] for index in order]
