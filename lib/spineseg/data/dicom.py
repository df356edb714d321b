"""DICOM series: group files by series, check their headers, read each series as one volume.

File names and their order are ignored, because scanners and archives name files as they like.
"""

import math
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.headers import (
    COPY_AGAIN,
    DICOM_MAGIC,
    DICOM_PREAMBLE_BYTES,
    EXPORT_AGAIN,
    NOT_FINITE,
    SAVE_GRAY,
    check_voxel_limit,
)
from spineseg.data.volume import ITK_LOCK, as_scan
from spineseg.utils.errors import Problem, UserError, require_utf8

IMAGE_IO = "GDCMImageIO"
DICOM_SUFFIXES = (".dcm", ".ima")  # files of that name should be DICOM, whatever they begin with
IMPLICIT, EXPLICIT, BIG_ENDIAN = (f"1.2.840.10008.1.2{tail}" for tail in ("", ".1", ".2"))
UNCOMPRESSED = (IMPLICIT, EXPLICIT, BIG_ENDIAN)
DEFLATED = "1.2.840.10008.1.2.1.99"

# Value representations (VR): those with lengths of two and of four bytes, and those in the meta
# information.
SHORT_VRS = (
    *(b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT"),
    *(b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL", b"US"),
)
LONG_VRS = (
    *(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV"),
    *(b"UC", b"UN", b"UR", b"UT", b"UV"),
)
META_VRS = (b"AE", b"OB", b"SH", b"UI", b"UL", b"UR")
META_GROUP, ITEM_GROUP = 0x0002, 0xFFFE
FIRST_TAG = rb"[\x02\x08]\0.\0|\0\x08\0."  # of a file without a preamble, in either byte order
PIXEL_DATA = (0x7FE0, 0x0010)
UNDEFINED_LENGTH = 0xFFFFFFFF  # the element extends to a delimiter

Tag = tuple[int, int]  # group and element

# What an image is, and how it is stored: in the meta information, then in the data set itself.
META_CLASS, TRANSFER_SYNTAX, STORAGE_CLASS = (0x0002, 0x0002), (0x0002, 0x0010), (0x0008, 0x0016)
MAX_UID_BYTES = 64

# Storage classes of images by how their UIDs begin: CT, MR, secondary captures. A file of another
# class is no image if it holds no pixels. These hold pixels and are no scans: segmentations, doses.
IMAGE_CLASSES = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("2", "4", "7"))
SCREENSHOT = IMAGE_CLASSES[-1]
CLASSES_WITHOUT_SCAN = tuple(f"1.2.840.10008.5.1.4.1.1.{kind}" for kind in ("4.2", "66", "481."))

PATIENT_ID, SERIES_UID, INSTANCE_UID = "0010|0020", "0020|000e", "0008|0018"
ECHO_TIME = "0018|0081"
IMAGE_POSITION, IMAGE_ORIENTATION = "0020|0032", "0020|0037"
SAMPLES_PER_PIXEL, BITS_ALLOCATED = "0028|0002", "0028|0100"

# Within a series: largest difference of spacings (mm) and directions, and largest error of a
# slice's position as a fraction of the distance between slices.
GEOMETRY_TOLERANCE = 1e-3
POSITION_TOLERANCE = 0.05

MIN_MAIN_STACK = 3  # a series is its largest stack if that has this many times the other slices
LOCALIZER_PLANES = 3

GIVE_WHOLE_SERIES = "give the folder that holds the whole series"
CONVERT = "convert the series with `dcm2niix`, which writes one file per volume"


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
    instance: str = ""  # the image's UID
    echo: str = ""  # echo time
    storage_class: str = ""


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
            header = read_slice_header(path) if _is_dicom(path) else None
        except UserError as error:
            found.problems.extend(error.problems)
            continue
        if header is None:
            found.strays.append(path)
        else:
            found.series.setdefault(header.series, []).append(header)
    for series, headers in list(found.series.items()):
        patients = {header.patient for header in headers}
        if len(patients) > 1:
            what = f"its series has slices of {len(patients)} patients"
            first = min(header.path for header in headers)
            found.problems.append(Problem(first, what, "give the folder of each patient alone"))
            del found.series[series]
    return found


def _is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, or should be by its name."""
    if not path.is_file():
        return False
    start = _first_bytes(path)
    is_bare = re.match(FIRST_TAG, start, re.DOTALL) is not None
    return _has_preamble(start) or is_bare or path.suffix.lower() in DICOM_SUFFIXES


def _first_bytes(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(DICOM_PREAMBLE_BYTES + len(DICOM_MAGIC))
    except OSError as error:
        raise UserError.at(path, f"cannot be read ({error.strerror})", COPY_AGAIN) from None


def _has_preamble(start: bytes) -> bool:
    return start[DICOM_PREAMBLE_BYTES:] == DICOM_MAGIC


def read_slice_header(path: Path) -> SliceHeader | None:
    """The header of a DICOM image, or None if the file holds no image by its storage class.

    Raises UserError if the header is missing or damaged.
    """
    require_utf8(path)
    values = _identify(path)
    storage_class = values.get(META_CLASS) or values.get(STORAGE_CLASS, "")
    if storage_class.startswith(CLASSES_WITHOUT_SCAN):
        return None
    if PIXEL_DATA not in values:
        if storage_class and not storage_class.startswith(IMAGE_CLASSES):
            return None
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
    plain = values.get(TRANSFER_SYNTAX, IMPLICIT) in UNCOMPRESSED and samples == 1
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
        text(INSTANCE_UID),
        text(ECHO_TIME),
        storage_class,
    )


def _identify(path: Path) -> dict[Tag, str]:
    """The storage class and the transfer syntax that a file states, and '' for its pixels, if any.

    Raises UserError if it is not DICOM or is cut off.
    """
    values: dict[Tag, str] = {}
    for tag, value in _elements(path):
        if tag in (META_CLASS, TRANSFER_SYNTAX, STORAGE_CLASS):
            values.setdefault(tag, value.decode("ascii", "replace").strip("\0 "))
        elif tag == PIXEL_DATA:
            values[tag] = ""
    return values


def _elements(path: Path) -> Iterator[tuple[Tag, bytes]]:
    """Each element of a file, also those in sequences, with the first bytes of its value.

    Raises UserError if it is not DICOM, or if an element claims more bytes than follow it: GDCM
    would allocate them first. Ends with pixels at an encoding that is not known here.
    """
    damaged = UserError.at(path, "not a DICOM image, or damaged", COPY_AGAIN)
    start, end, syntax = _first_bytes(path), path.stat().st_size, ""
    place = DICOM_PREAMBLE_BYTES + len(DICOM_MAGIC) if _has_preamble(start) else 0
    order, explicit, in_meta, in_pixels = "<", True, True, False
    with open(path, "rb") as file:
        while place + 8 <= end:
            file.seek(place)
            raw = file.read(12).ljust(12, b"\0")
            if in_meta and raw[:2] != META_GROUP.to_bytes(2, "little"):
                in_meta = False  # which is always explicit and little-endian
                syntax = syntax or _guess_syntax(raw)
                order, explicit = ">" if syntax == BIG_ENDIAN else "<", syntax != IMPLICIT
                if not syntax.startswith(IMPLICIT):
                    raise damaged
            tag = struct.unpack_from(f"{order}2H", raw)
            vr = raw[4:6] if explicit and tag[0] != ITEM_GROUP else b""
            if in_meta and vr not in META_VRS:
                raise damaged
            if vr in SHORT_VRS:
                place, length = place + 8, struct.unpack_from(f"{order}H", raw, 6)[0]
            elif vr in LONG_VRS:
                place, length = place + 12, struct.unpack_from(f"{order}I", raw, 8)[0]
            else:  # an element without a VR, also among others
                place, length = place + 8, struct.unpack_from(f"{order}I", raw, 4)[0]
            is_open = length == UNDEFINED_LENGTH
            if syntax == DEFLATED or (is_open and vr == b"UN"):
                yield PIXEL_DATA, b""
                return
            if not is_open and place + length > end:
                raise damaged
            file.seek(place)
            value = file.read(min(length, MAX_UID_BYTES))
            if tag == TRANSFER_SYNTAX:
                syntax = value.decode("ascii", "replace").strip("\0 ")
            yield tag, value
            in_pixels = in_pixels or (is_open and tag == PIXEL_DATA)
            is_entered = vr == b"SQ" or (tag[0] == ITEM_GROUP and not in_pixels)
            if not is_open and not is_entered:
                place += length


def _guess_syntax(element: bytes) -> str:
    """The transfer syntax of a data set, from the first bytes of its first element."""
    order = "little" if element[1] == 0 else "big"
    if not element[4:6].isalpha():
        return IMPLICIT if order == "little" else ""
    return EXPLICIT if order == "little" else BIG_ENDIAN


def _parse_numbers(text: str, count: int) -> tuple[float, ...]:
    """The finite numbers in a DICOM value; empty unless there are exactly `count`."""
    try:
        numbers = tuple(map(float, text.split("\\")))
    except ValueError:
        return ()
    return numbers if len(numbers) == count and np.isfinite(numbers).all() else ()


def not_a_volume(slices: Sequence[SliceHeader]) -> str:
    """Why a series is no volume although nothing is wrong with it; empty if it should be one."""
    slices = _without_copies(slices)
    if any(math.prod(each.size[2:]) > 1 for each in slices):
        return ""
    if all(each.storage_class.startswith(SCREENSHOT) and not each.position for each in slices):
        return "a secondary capture, not a scan"
    if len(slices) == 1:
        return "a single slice"
    stacks = _stacks(slices)
    if len(stacks) == len(slices) or (
        len(stacks) >= LOCALIZER_PLANES and len(stacks[0]) < MIN_MAIN_STACK * len(stacks[1])
    ):
        return f"slices in {len(stacks)} directions or sizes, as of a localizer"
    return ""


def read_series(files: Sequence[Path], notes: list[Problem] | None = None) -> sitk.Image:
    """Read the volume that these files hold, in any order, as `sort_slices` finds it.

    Adds to `notes` what is left out. Raises UserError, usually naming the first file.
    """
    headers = [read_slice_header(path) for path in files]
    slices = sort_slices([each for each in headers if each], notes)
    first = files[0]
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO(IMAGE_IO)
    reader.SetFileNames([str(each.path) for each in slices])
    if len({each.type for each in slices}) > 1:  # each slice is scaled to whole or broken numbers
        reader.SetOutputPixelType(sitk.sitkFloat32)
    try:
        with ITK_LOCK:
            image = reader.Execute()
    except RuntimeError:
        raise UserError.at(first, "a slice of its series cannot be read", COPY_AGAIN) from None
    if not np.isfinite(sitk.GetArrayViewFromImage(image)).all():
        raise UserError.at(first, *NOT_FINITE)
    return as_scan(image, first)


def sort_slices(
    slices: Sequence[SliceHeader], notes: list[Problem] | None = None
) -> list[SliceHeader]:
    """The slices of the one volume that a series holds, sorted along their normal.

    Copies of a slice, and a few slices of another size, spacing or direction, as of a localizer,
    are left out and added to `notes`. Raises UserError, usually naming the first file, unless the
    other files hold one gray-scale slice each, at even distances along the normal.
    """
    single = _without_copies(slices)
    stack, *others = _stacks(single)
    first, left_out = stack[0], [each for other in others for each in other]
    if first.components > 1:
        raise UserError.at(first.path, "a colour image", SAVE_GRAY)
    if math.prod(first.size[2:]) > 1:
        raise UserError.at(first.path, f"{first.size[2]} frames in one file", CONVERT)
    if len(single) == 1:
        raise UserError.at(first.path, "a single slice", GIVE_WHOLE_SERIES)
    if len(stack) < MIN_MAIN_STACK * len(left_out):
        counts = " and ".join(str(len(each)) for each in (stack, *others))
        what = f"its series holds {counts} slices that differ in {_difference(first, left_out[0])}"
        raise UserError.at(first.path, what, CONVERT)
    if not (first.position and first.axes):
        raise UserError.at(first.path, "does not say where its slice is", EXPORT_AGAIN)
    check_voxel_limit(first.path, (*first.size[:2], len(stack)), _bytes_per_voxel(stack))
    in_order = _sort_by_position(stack)
    if notes is not None:
        kept = {each.path for each in single}
        for each in slices:
            if each.path not in kept:
                notes.append(Problem(each.path, "a copy of another slice", "used once"))
        for each in left_out:
            what = f"differs from its series in {_difference(first, each)}, as a localizer does"
            notes.append(Problem(each.path, what, "left out"))
    return in_order


def _bytes_per_voxel(stack: Sequence[SliceHeader]) -> int:
    return max(sitk.Image([1, 1], each.type).GetSizeOfPixelComponent() for each in stack)


def _without_copies(slices: Sequence[SliceHeader]) -> list[SliceHeader]:
    """The slices without copies, which have the UID, place, size and echo time of another."""
    first: dict[tuple, SliceHeader] = {}
    for each in sorted(slices, key=lambda each: str(each.path)):
        key = (each.instance, each.position, each.axes, each.size, each.spacing, each.echo)
        first.setdefault(key if each.instance else (each.path,), each)
    return list(first.values())


def _stacks(slices: Sequence[SliceHeader]) -> list[list[SliceHeader]]:
    """Group slices that agree in `_difference`; the largest group first."""
    stacks: list[list[SliceHeader]] = []
    for each in slices:
        fitting = (stack for stack in stacks if not _difference(stack[0], each))
        if (stack := next(fitting, None)) is None:
            stacks.append([each])
        else:
            stack.append(each)
    return sorted(stacks, key=len, reverse=True)


def _difference(one: SliceHeader, other: SliceHeader) -> str:
    """In what two slices cannot belong to one volume, whatever their places; empty if they can."""
    if one.components != other.components:
        return "colour"
    if bool(one.position) != bool(other.position):
        return "position"
    for what in ("size", "spacing", "axes"):
        ours, theirs = getattr(one, what), getattr(other, what)
        apart = (abs(a - b) for a, b in zip(ours, theirs, strict=False))
        if len(ours) != len(theirs) or any(each > GEOMETRY_TOLERANCE for each in apart):
            return "direction" if what == "axes" else what
    return ""


def _sort_by_position(slices: Sequence[SliceHeader]) -> list[SliceHeader]:
    first = slices[0].path
    normal = np.cross(slices[0].axes[:3], slices[0].axes[3:])
    positions = np.array([each.position for each in slices])
    heights = positions @ normal
    order = np.argsort(heights, kind="stable")
    gaps = np.diff(heights[order])
    step = float(np.median(gaps))
    if gaps.min() <= POSITION_TOLERANCE * step:
        places = 1 + int((gaps > POSITION_TOLERANCE * max(step, gaps.max())).sum())
        what = f"its series has {len(slices)} slices in {places} places, as several echoes have"
        raise UserError.at(first, what, CONVERT)
    if gaps.max() > (1 + POSITION_TOLERANCE) * step or gaps.min() < (1 - POSITION_TOLERANCE) * step:
        what = f"uneven spacing: slices {gaps.min():.3g} to {gaps.max():.3g} mm apart"
        raise UserError.at(first, what, "copy the series again, a slice may be missing")
    sideways = positions - positions[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(sideways, axis=1).max() > POSITION_TOLERANCE * step:
        raise UserError.at(first, "the slices of its series are shifted sideways", EXPORT_AGAIN)
    return [slices[index] for index in order]
