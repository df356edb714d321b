"""Read, orient, compare and write single volumes.

Scans stay SimpleITK images, so that size, spacing (mm), origin and direction stay with the voxels.
The canonical orientation is sagittal: the array axes run right to left (slices), superior to
inferior (rows) and anterior to posterior (columns).
"""

import os
import re
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import SimpleITK as sitk

from spineseg.data.headers import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    MIN_SHEAR,
    NOT_FINITE,
    SEVERAL_NUMBERS,
    StoredVoxels,
    check_geometry,
    check_size,
    is_nifti,
    locate_mha,
    locate_nrrd,
    nearest_rotation,
    right_angle_error,
)
from spineseg.data.nifti import corner_distance, locate_nifti, read_header, write_nifti
from spineseg.data.segmentation import label_by_name, merge_layers
from spineseg.utils.errors import Problem, UserError, require_utf8
from spineseg.utils.files import atomic_write

NIFTI = (".nii.gz", ".nii")
EXTENSIONS = (*NIFTI, ".mha", ".nrrd")
SEGMENTATION = ".seg.nrrd"  # of 3D Slicer
MASK_EXTENSIONS = (SEGMENTATION, *EXTENSIONS)
DETACHED_EXTENSIONS = (".hdr", ".img", ".mhd", ".nhdr", ".hdr.gz", ".img.gz")
LOCATE = {
    **dict.fromkeys(NIFTI, locate_nifti),
    ".mha": locate_mha,
    **dict.fromkeys((".nrrd", SEGMENTATION), locate_nrrd),
}
CANONICAL = "PIL"  # x grows towards posterior, y towards inferior, z towards the left

# ITK can crash if two threads read files at once: github.com/SimpleITK/SimpleITK/issues/74
ITK_LOCK = Lock()

DESCRIPTION = "ITK_FileNotes"  # ITK's key of metadata for the description in a NIfTI header
MAX_ROUNDING = 1e-3  # labels up to this far from whole numbers are rounded
VOXEL_BY_VOXEL = "taken voxel by voxel; please check"
WHOLE_NUMBERS = "save the mask with whole-number labels from 0 up"
GRID_TOLERANCE = 0.1  # of the smallest spacing, between corresponding voxels

# ITK prints warnings to stderr, bypassing Python. The files that cause them are refused here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def extension(path: Path) -> str | None:
    """The known extension, in lower case, that a file's name ends in in any case, or None."""
    name = path.name.lower()
    return next((known for known in MASK_EXTENSIONS if name.endswith(known)), None)


def stem(path: Path) -> str:
    """A file's name without its known extension."""
    return path.name[: len(path.name) - len(extension(path) or "")]


def read_scan(path: Path, notes: list[Problem] | None = None) -> sitk.Image:
    """Read an MR volume as stored: 3-D, one number per voxel, finite and not constant.

    Adds what is doubtful to `notes`. Raises UserError for anything else.
    """
    path = Path(path)
    image, stored = _read(path, [] if notes is None else notes)
    if stored.segments or extension(path) == SEGMENTATION:
        remedy = "give the scan on which it was drawn"
        raise UserError.at(path, "a segmentation of 3D Slicer, not a scan", remedy)
    return as_scan(image, path)


def as_scan(image: sitk.Image, path: Path) -> sitk.Image:
    """The image itself. Raises UserError, naming `path`, if all its voxels are equal."""
    values = sitk.GetArrayViewFromImage(image)
    if values.min() == values.max():
        raise UserError.at(path, f"every voxel is {values.flat[0]}", EXPORT_AGAIN)
    return image


def read_mask(
    path: Path, labels: tuple[str, ...] = (), notes: list[Problem] | None = None
) -> sitk.Image:
    """Read a label volume as stored, as UInt8 (UInt16 if a label exceeds 255).

    Floats are accepted if they are within `MAX_ROUNDING` of whole numbers. A segmentation of 3D
    Slicer gets the numbers that its segments' names have in `labels`, if these names are known.
    Adds what is doubtful to `notes`. Raises UserError for fractions, for negative values and for
    every file that `read_volume` refuses; single slices are accepted.
    """
    path = Path(path)
    notes = [] if notes is None else notes
    image, stored = _read(path, notes, thinnest=1)
    segments = list(stored.segments)
    if stored.layers > 1:
        image, segments = merge_layers(image, segments, labels, path)
    return label_by_name(as_labels(image, path, notes), segments, labels, path, notes)


def as_labels(image: sitk.Image, path: Path, notes: list[Problem] | None = None) -> sitk.Image:
    """Cast an image to UInt8 or UInt16. Raises UserError, naming `path`, if that loses values."""
    values = sitk.GetArrayViewFromImage(image)
    low, high = values.min(), values.max()
    if low < -MAX_ROUNDING or high > np.iinfo(np.uint16).max:
        raise UserError.at(path, f"mask values run from {low:g} to {high:g}", WHOLE_NUMBERS)
    whole = image
    if values.dtype.kind == "f":
        off = np.abs(values - np.rint(values))
        if off.max() > MAX_ROUNDING:
            what = f"mask values are not whole numbers, for example {values.flat[off.argmax()]:.6g}"
            raise UserError.at(path, what, WHOLE_NUMBERS)
        if notes is not None:
            what = "whole numbers stored as float"
            what += f", up to {off.max():.1g} off" if off.any() else ""
            notes.append(Problem(path, what, "read as integers"))
        whole = sitk.Round(image)
    small = np.rint(high) <= np.iinfo(np.uint8).max
    return sitk.Cast(whole, sitk.sitkUInt8 if small else sitk.sitkUInt16)


def read_volume(path: Path, notes: list[Problem] | None = None) -> sitk.Image:
    """Read any 3-D volume of finite numbers as stored. The header is checked before the voxels.

    Scaled NIfTI voxels become Float32. Axes that are a hair off right angles are set upright. Adds
    what is doubtful to `notes`. Raises UserError for

    - other file types than `EXTENSIONS`, and voxels in a second file;
    - truncated or damaged files, and headers that claim more or far less than the file holds;
    - 2-D images (also single slices), 4-D, colour and complex images;
    - impossible sizes, spacings and positions, axes that are not at right angles, and volumes that
      would take too much memory (limits in `data/headers.py`);
    - NaN or infinite values.

    `data/nifti.py` says which position counts if a NIfTI header states two.
    """
    image, stored = _read(Path(path), [] if notes is None else notes)
    if stored.layers > 1:
        raise UserError.at(path, *SEVERAL_NUMBERS)
    return image


def _read(path: Path, notes: list[Problem], thinnest: int = 2) -> tuple[sitk.Image, StoredVoxels]:
    with _user_errors(path), _open(path, notes, thinnest) as (reader, stored), ITK_LOCK:
        image = reader.Execute()
    if stored.scale:
        slope, intercept = stored.scale
        image = sitk.Cast(image, sitk.sitkFloat32)
        image *= slope
        image += intercept
    axes = np.reshape(image.GetDirection(), (3, 3))
    if right_angle_error(axes) > MIN_SHEAR:
        image.SetDirection(nearest_rotation(axes).ravel().tolist())
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError.at(path, *NOT_FINITE)
    return image, stored


def canonical_shape(path: Path) -> tuple[int, int, int]:
    """(slices, rows, columns) of the canonical volume, read from the header alone.

    Raises UserError for a header that `read_volume` refuses.
    """
    size, direction = _size_and_direction(path)
    order = canonical_order(direction)
    return size[order[0]], size[order[1]], size[order[2]]


def stored_direction(path: Path) -> tuple[float, ...]:
    """The direction cosines of a file's axes (9, row by row), read from the header alone.

    Raises UserError for a header that `read_volume` refuses.
    """
    return _size_and_direction(path)[1]


def _size_and_direction(path: Path) -> tuple[tuple[int, ...], tuple[float, ...]]:
    path = Path(path)
    with _user_errors(path), _open(path, []) as (reader, _):
        return reader.GetSize(), reader.GetDirection()


def canonical_order(direction: Sequence[float]) -> list[int]:
    """Which axes of an image with that direction run right-left, up-down and front-back."""
    code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(direction)
    axes = code.translate(str.maketrans("LIP", "RSA"))
    return [axes.index(axis) for axis in "RSA"]


def to_canonical(image: sitk.Image) -> sitk.Image:
    """Reorder and flip the axes to slices R-L, rows S-I, columns A-P. Nothing is interpolated.

    The axes of an oblique volume are assigned to the nearest anatomical axes.
    """
    return sitk.DICOMOrient(image, CANONICAL)


def from_canonical(image: sitk.Image, like: sitk.Image) -> sitk.Image:
    """Bring a canonical image back to the axes and the exact geometry of `like`.

    Raises ValueError if `image` is not on the grid of `to_canonical(like)`.
    """
    if mismatch := geometry_mismatch(image, to_canonical(like)):
        raise ValueError(f"not the canonical image of this scan: {mismatch}")
    # Uses the axes, because the orientation code of an oblique volume does not lead back to them.
    axes = [np.reshape(each.GetDirection(), (3, 3)) for each in (like, image)]
    turn = np.rint(np.linalg.inv(axes[0]) @ axes[1])  # rows: axes of `like`, columns: of `image`
    order = np.abs(turn).argmax(axis=1)
    backwards = turn[range(3), order] < 0
    restored = sitk.Flip(sitk.PermuteAxes(image, order.tolist()), backwards.tolist())
    restored.CopyInformation(like)
    return restored


def on_grid_of(
    mask: sitk.Image,
    scan: sitk.Image,
    path: Path,
    scan_path: Path,
    notes: list[Problem] | None = None,
) -> sitk.Image:
    """The mask with the axes, size and exact geometry of the scan. Both are given as read.

    `path` and `scan_path` are their files. A mask that covers only a part of the scan's grid is
    padded with background. If two NIfTI files state different positions and share one of them, or
    if the mask's states none, voxels are taken to correspond. Adds both cases to `notes`. Raises
    UserError, naming `path`, for any other mask.
    """
    notes = [] if notes is None else notes
    grid = sitk.Image(scan.GetSize(), sitk.sitkUInt8)
    grid.CopyInformation(scan)
    canonical_grid = to_canonical(grid)
    labels = to_canonical(mask)
    if mismatch := geometry_mismatch(labels, canonical_grid):
        if shared := _shared_position(path, scan_path):
            notes.append(
                Problem(path, f"lies beside {scan_path.name}, but {shared}", VOXEL_BY_VOXEL)
            )
            labels = sitk.Image(mask)
            labels.CopyInformation(scan)
            return labels
        padded = _pad(labels, canonical_grid)
        if padded is None:
            what = f"does not fit {scan_path.name}: {mismatch}"
            raise UserError.at(path, what, "draw or resample it on the scan's grid")
        notes.append(Problem(path, "covers a part of its scan", "the rest is background"))
        labels = padded
    labels.CopyInformation(canonical_grid)
    return from_canonical(labels, scan)


def _shared_position(path: Path, scan_path: Path) -> str:
    """What two NIfTI files of equal size have in common if their positions differ, in words."""
    if not (is_nifti(path) and is_nifti(scan_path)):
        return ""
    ours, theirs = read_header(path), read_header(scan_path)
    if ours.size != theirs.size:
        return ""
    limit = GRID_TOLERANCE * theirs.spacing().min()
    if not ours.has_position() and np.abs(ours.spacing() - theirs.spacing()).max() <= limit:
        return "it has no position of its own"
    for name, matrix in ours.forms().items():
        for scan_name, other in theirs.forms().items():
            if corner_distance(ours.size, matrix, other) <= limit:
                return f"its {name} is the {scan_name} of the scan"
    return ""


def _pad(mask: sitk.Image, grid: sitk.Image) -> sitk.Image | None:
    """The mask padded to the grid; None unless its voxels are voxels of the grid."""
    start = grid.TransformPhysicalPointToContinuousIndex(mask.GetOrigin())
    offset = np.rint(start).astype(int)
    size = np.array(mask.GetSize())
    if offset.min() < 0 or (offset + size > grid.GetSize()).any():
        return None
    part = sitk.RegionOfInterest(grid, size.tolist(), offset.tolist())
    if geometry_mismatch(mask, part):
        return None
    upper = np.array(grid.GetSize()) - offset - size
    padded = sitk.ConstantPad(mask, offset.tolist(), upper.tolist(), 0)
    return padded


def geometry_mismatch(
    image: sitk.Image, reference: sitk.Image, tolerance: float = GRID_TOLERANCE
) -> str:
    """How the voxel grid of a volume differs from the reference's; empty if it does not.

    Grids agree if their sizes are equal and corresponding voxels are at most `tolerance` times the
    reference's smallest spacing apart.
    """
    if image.GetSize() != reference.GetSize():
        sizes = [" x ".join(map(str, each.GetSize())) for each in (image, reference)]
        return f"size {sizes[0]} instead of {sizes[1]}"
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(image.GetSize()) - 1)
    ours, theirs = (
        np.array([each.TransformIndexToPhysicalPoint(corner.tolist()) for corner in corners])
        for each in (image, reference)
    )
    distance = np.linalg.norm(ours - theirs, axis=1).max()
    if distance <= tolerance * min(reference.GetSpacing()):
        return ""
    return f"voxels up to {distance:.3g} mm apart (spacing, origin or direction)"


def write_image(image: sitk.Image, path: Path) -> None:
    """Write an image atomically and compressed, in the format of the extension.

    Raises UserError if the extension is not known or the file cannot be written.
    """
    path = Path(path)
    suffix = _require_extension(path)
    with atomic_write(path) as temporary, _in_lower_case(temporary, suffix) as target:
        sitk.WriteImage(image, str(target), useCompression=True)
        try:
            with _open(target, []):
                pass
        except (UserError, zlib.error):  # ITK does not report a disk that fills up during NIfTI
            raise OSError("cut short") from None


def write_mask(mask: sitk.Image, path: Path, like: Path | None = None) -> None:
    """Write a mask atomically and compressed, with the position that the file of its scan states.

    `mask` is on the scan's grid; `like` is the scan's file, None if it is a DICOM series. Axes that
    were set upright on reading get their shear back. If both files are NIfTI, the mask's header
    states sform, qform and unit of length as the scan's does, so that every reader sees the mask on
    the scan. Metadata of the mask are written too; a NIfTI file has room for `DESCRIPTION` only.
    Raises UserError if the file cannot be written or `like` cannot be read.
    """
    path = Path(path)
    suffix = _require_extension(path)
    placed = sitk.Image(mask)
    like = Path(like) if like else None
    if like:
        with _user_errors(like), _header(like, []) as (reader, _):
            placed.SetOrigin(reader.GetOrigin())
            placed.SetSpacing(reader.GetSpacing())
            placed.SetDirection(reader.GetDirection())
    if suffix not in NIFTI:
        for key in mask.GetMetaDataKeys():  # the setters above drop them
            placed.SetMetaData(key, mask.GetMetaData(key))
        write_image(placed, path)
        return
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(placed.GetDirection(), (3, 3)) * placed.GetSpacing()
    matrix[:3, 3] = placed.GetOrigin()
    scan = like if like and is_nifti(like) else None
    text = mask.GetMetaData(DESCRIPTION) if mask.HasMetaDataKey(DESCRIPTION) else ""
    with atomic_write(path) as temporary:
        write_nifti(temporary, sitk.GetArrayViewFromImage(mask), matrix, scan, text)


def _require_extension(path: Path) -> str:
    """The known extension of a file name. Raises UserError for any other name."""
    suffix = extension(path)
    if suffix is None and path.name.lower().endswith(DETACHED_EXTENSIONS):
        what = "one of two files, header and voxels"
        raise UserError.at(path, what, f"save both as one of {' '.join(EXTENSIONS)}")
    if suffix is None:
        raise UserError.at(path, "not a known image type", f"use one of {' '.join(EXTENSIONS)}")
    require_utf8(path)
    return suffix


@contextmanager
def _in_lower_case(path: Path, suffix: str) -> Iterator[Path]:
    """A name for `path` whose extension ITK knows; `path` is there when the block has succeeded."""
    if path.name.endswith(suffix):
        yield path
        return
    other = path.with_name(f"{stem(path)}-lower{suffix}")
    try:
        yield other
        os.replace(other, path)
    finally:
        other.unlink(missing_ok=True)


@contextmanager
def _open(
    path: Path, notes: list[Problem], thinnest: int = 2
) -> Iterator[tuple[sitk.ImageFileReader, StoredVoxels]]:
    """Yield a reader that has read the checked header, and not the voxels yet."""
    with _header(path, notes) as (reader, stored):
        check_size(reader, stored, thinnest)
        check_geometry(reader, path, notes)
        yield reader, stored


@contextmanager
def _header(
    path: Path, notes: list[Problem]
) -> Iterator[tuple[sitk.ImageFileReader, StoredVoxels]]:
    """Yield a reader that has read the header."""
    suffix = _require_extension(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise UserError.at(path, what, "check the name")
    stored = LOCATE[suffix](path, notes)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("MetaImageIO" if suffix == ".mha" else "NrrdImageIO")
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        reader.SetFileName(str(stored.prepare_for_itk(Path(folder))))
        with ITK_LOCK:
            reader.ReadImageInformation()
        yield reader, stored


@contextmanager
def _user_errors(path: Path) -> Iterator[None]:
    """Turn the exceptions that Python and ITK raise for a bad file into UserError."""
    try:
        yield
    except (OSError, zlib.error) as error:
        raise UserError.at(path, f"cannot be read ({_reason(error, path)})", COPY_AGAIN) from None
    except RuntimeError as error:
        what = f"not a valid image ({_reason(error, path)})"
        raise UserError.at(path, what, EXPORT_AGAIN) from None


def _reason(error: Exception, path: Path) -> str:
    """The error's message without ITK's source lines, object addresses and file names."""
    text = re.split(r"ERROR: |\[nrrd\] ", str(error))[-1].replace(str(path), "file")
    text = re.sub(r"\S*[/\\]scan-\w+[/\\]\S+", "file", text)
    text = re.sub(r"\w+\(0x[0-9a-f]+\): |\[Errno \d+\] |Reason: .*", "", text)
    return " ".join(text.split())[:120]
