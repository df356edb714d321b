"""DICOM series: group files by series, check their headers, read each series as one volume.

File names and their order are ignored, because scanners and archives name files as they like.
"""

import math
import re
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.headers import COPY_AGAIN, EXPORT_AGAIN, MAX_VOXELS, NOT_FINITE, SAVE_GRAY
from spineseg.data.volume import ITK_LOCK, as_scan
from spineseg.utils.errors import Problem, UserError

IMAGE_IO = "GDCMImageIO"
MAGIC = b"DICM"
PREAMBLE_BYTES = 128  # before the magic
DICOM_SUFFIXES = (".dcm", ".ima")  # files of that name should be DICOM, even without the magic
META_BYTES = 1024  # enough of a file to hold its file meta information, which comes first
STORAGE_CLASS, TRANSFER_SYNTAX = b"\x02\x00\x02\x00", b"\x02\x00\x10\x00"
IMPLICIT, EXPLICIT, BIG_ENDIAN = (f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".2"))
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
DEFLATED = "1.2.840.10008.1.2.1.99"

# Value representations (VR): those with a length of four bytes, and those in the meta information.
LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"UC", b"UN", b"UR", b"UT")
META_VRS = (b"AE", b"OB", b"SH", b"UI", b"UL", b"UR")
PIXEL_DATA, ITEM_GROUP = (0x7FE0, 0x0010), 0xFFFE
UNDEFINED_LENGTH = 0xFFFFFFFF  # the element extends to a delimiter

# Storage classes: directories, raw data, presentation states, reports and documents.
CLASSES_WITHOUT_IMAGE = (
    "1.2.840.10008.1.3.10",
    *(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("66", "11.", "88.", "104.")),
)

PATIENT_ID, SERIES_UID = "0010|0020", "0020|000e"
IMAGE_POSITION, IMAGE_ORIENTATION = "0020|0032", "0020|0037"
SAMPLES_PER_PIXEL, BITS_ALLOCATED = "0028|0002", "0028|0100"

# Within a series: largest difference of spacings (mm) and directions, and largest error of a
# slice's position as a fraction of the distance between slices.
GEOMETRY_TOLERANCE = 1e-3
POSITION_TOLERANCE = 0.05

GIVE_WHOLE_SERIES = "give the folder that holds the whole series"
EXPORT_SLICES = "export the series with one slice per file"
EXPORT_VOLUMES = "export one volume per series"


@dataclass(frozen=True)
class SliceHeader:
    """The header of one DICOM file."""

    path: Path
    series: str
    patient: str
    size: tuple[int, ...]  # columns, rows, frames
    spacing: tuple[float, ...]  # mm between columns, between rows
    position: tuple[float, ...]  # mm, of the first voxel; empty if not given
    axes: tuple[float, ...]  # directions along a row and down a column; empty if not given
    components: int
    type: int  # SimpleITK's pixel type


@dataclass
class SeriesSearch:
    """The DICOM series among some files, by UID.

    `problems` are about files that cannot be read, `strays` are the files that hold no image.
    """

    series: dict[str, list[SliceHeader]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    strays: list[Path] = field(default_factory=list)


def find_series(files: Iterable[Path]) -> SeriesSearch:
    """Group files by their series. Files that cannot be used raise nothing."""
    found = SeriesSearch()
    for path in files:
        try:
            if not _is_dicom(path):
                found.strays.append(path)
                continue
            header = read_slice_header(path)
            found.series.setdefault(header.series, []).append(header)
        except UserError as error:
            found.problems.extend(error.problems)
    return found


def _is_dicom(path: Path) -> bool:
    """Whether a file is a DICOM file with an image, or should be one by its name."""
    start = _first_bytes(path)
    if not start[PREAMBLE_BYTES:].startswith(MAGIC):
        return path.suffix.lower() in DICOM_SUFFIXES
    return not _meta_uid(start, STORAGE_CLASS).startswith(CLASSES_WITHOUT_IMAGE)


def _first_bytes(path: Path) -> bytes:
    if not path.is_file():
        return b""
    try:
        with open(path, "rb") as file:
            return file.read(META_BYTES)
    except OSError as error:
        raise UserError.at(path, f"cannot be read ({error.strerror})", COPY_AGAIN) from None


def _meta_uid(start: bytes, tag: bytes) -> str:
    """A UID of the file meta information, or ''."""
    found = re.search(re.escape(tag) + rb"UI..([0-9.]+)", start, re.DOTALL)
    return found[1].decode() if found else ""


def read_slice_header(path: Path) -> SliceHeader:
    """The header of a DICOM image. Raises UserError if it is missing or damaged."""
    start = _first_bytes(path)
    if not start[PREAMBLE_BYTES:].startswith(MAGIC):
        raise UserError.at(path, "not a DICOM file", COPY_AGAIN)
    syntax = _meta_uid(start, TRANSFER_SYNTAX)
    if not syntax.startswith(IMPLICIT) or not _lengths_fit(path, syntax):
        raise UserError.at(path, "not a DICOM image, or damaged", COPY_AGAIN)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileName(str(path))
    try:
        with ITK_LOCK:
            reader.ReadImageInformation()
    except RuntimeError:
        raise UserError.at(path, "not a DICOM image, or damaged", COPY_AGAIN) from None

    def text(tag: str) -> str:
        return reader.GetMetaData(tag).strip("\0 ") if reader.HasMetaDataKey(tag) else ""

    series = text(SERIES_UID)
    if not re.fullmatch("[0-9.]{1,64}", series):
        raise UserError.at(path, "does not say which series it belongs to", EXPORT_AGAIN)
    size = reader.GetSize()
    (samples,) = _parse_numbers(text(SAMPLES_PER_PIXEL), 1) or (1,)
    (bits,) = _parse_numbers(text(BITS_ALLOCATED), 1) or (1,)
    plain = syntax in UNCOMPRESSED and samples == 1
    if plain and math.prod(size) * bits > 8 * path.stat().st_size:
        shape = " x ".join(map(str, size[:2]))
        what = f"truncated: the header claims {shape} voxels, more than the file holds"
        raise UserError.at(path, what, COPY_AGAIN)
    return SliceHeader(
        path,
        series,
        text(PATIENT_ID),
        size,
        reader.GetSpacing()[:2],
        _parse_numbers(text(IMAGE_POSITION), 3),
        _parse_numbers(text(IMAGE_ORIENTATION), 6),
        reader.GetNumberOfComponents(),
        reader.GetPixelID(),
    )


def _lengths_fit(path: Path, syntax: str) -> bool:
    """Whether no element claims more bytes than follow it. GDCM would allocate them first.

    Also checks the elements inside sequences. Returns True at an encoding that it does not know.
    """
    end = path.stat().st_size
    place = PREAMBLE_BYTES + len(MAGIC)
    order, explicit, in_pixels = "<", True, False
    with open(path, "rb") as file:
        while place + 8 <= end:
            file.seek(place)
            raw = file.read(12).ljust(12, b"\0")
            in_meta = raw[:2] == b"\x02\x00"  # always explicit and little-endian
            if not in_meta:
                if syntax == DEFLATED:
                    return True
                order, explicit = ">" if syntax == BIG_ENDIAN else "<", syntax != IMPLICIT
            tag = struct.unpack_from(f"{order}2H", raw)
            vr = raw[4:6] if explicit and tag[0] != ITEM_GROUP else b""
            if in_meta and vr not in META_VRS:
                return False
            if vr and not vr.isalpha():
                return True
            if vr and vr not in LONG_VRS:
                place, length = place + 8, struct.unpack_from(f"{order}H", raw, 6)[0]
            elif vr:
                place, length = place + 12, struct.unpack_from(f"{order}I", raw, 8)[0]
            else:
                place, length = place + 8, struct.unpack_from(f"{order}I", raw, 4)[0]
            if length == UNDEFINED_LENGTH:
                if vr == b"UN":
                    return True
                in_pixels = in_pixels or tag == PIXEL_DATA
            elif place + length > end:
                return False
            elif vr != b"SQ" and (tag[0] != ITEM_GROUP or in_pixels):
                place += length
    return True


def _parse_numbers(text: str, count: int) -> tuple[float, ...]:
    """The finite numbers in a DICOM value; empty unless there are exactly `count`."""
    try:
        numbers = tuple(map(float, text.split("\\")))
    except ValueError:
        return ()
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else ()


def read_series(files: Sequence[Path]) -> sitk.Image:
    """Read the volume that these files hold, in any order.

    Raises UserError, usually naming the first file, unless each file holds one gray-scale slice,
    all have the same size, spacing and direction, and their distances along the normal are equal.
    """
    slices = sort_slices([read_slice_header(path) for path in files])
    first = files[0]
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileNames([str(each.path) for each in slices])
    try:
        with ITK_LOCK:
            image = reader.Execute()
    except RuntimeError:
        raise UserError.at(first, "a slice of its series cannot be read", COPY_AGAIN) from None
    if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
        raise UserError.at(first, *NOT_FINITE)
    return as_scan(image, first)


def sort_slices(slices: Sequence[SliceHeader]) -> list[SliceHeader]:
    """Sort the slices of one volume along their normal. Raises UserError if they form none."""
    first = slices[0]
    if odd := next((each for each in slices if each.components > 1), None):
        raise UserError.at(odd.path, "a colour image", SAVE_GRAY)
    if odd := next((each for each in slices if math.prod(each.size[2:]) > 1), None):
        raise UserError.at(odd.path, f"{odd.size[2]} frames in one file", EXPORT_SLICES)
    if len(slices) == 1:
        raise UserError.at(first.path, "a single slice", GIVE_WHOLE_SERIES)
    if odd := next((each for each in slices if not (each.position and each.axes)), None):
        raise UserError.at(odd.path, "does not say where its slice is", EXPORT_AGAIN)
    for what in ("size", "spacing", "axes", "type"):
        values = np.array([getattr(each, what) for each in slices])
        if np.ptp(values, axis=0).max() > GEOMETRY_TOLERANCE:
            raise UserError.at(
                first.path, f"the slices of its series differ in {what}", EXPORT_VOLUMES
            )
    voxels = math.prod(first.size[:2]) * len(slices)
    if voxels > MAX_VOXELS:
        raise UserError.at(first.path, f"the headers claim {voxels} voxels", EXPORT_AGAIN)
    return _sort_by_position(slices)


def _sort_by_position(slices: Sequence[SliceHeader]) -> list[SliceHeader]:
    first = slices[0].path
    normal = np.cross(slices[0].axes[:3], slices[0].axes[3:])
    positions = np.array([each.position for each in slices])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    step = float(np.median(gaps))
    if gaps.min() <= POSITION_TOLERANCE * step:
        what = f"two of its series' {len(slices)} slices are in the same place"
        raise UserError.at(first, what, EXPORT_VOLUMES)
    if gaps.max() > (1 + POSITION_TOLERANCE) * step or gaps.min() < (1 - POSITION_TOLERANCE) * step:
        what = f"uneven spacing: slices {gaps.min():.3g} to {gaps.max():.3g} mm apart"
        raise UserError.at(first, what, "copy the series again, a slice may be missing")
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(sideways, axis=1).max() > POSITION_TOLERANCE * step:
        raise UserError.at(first, "the slices of its series are shifted sideways", EXPORT_AGAIN)
    return [slices[index] for index in order]
