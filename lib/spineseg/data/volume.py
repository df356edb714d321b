"""Read, orient, compare and write single volumes.

Scans stay SimpleITK images, so that size, spacing (mm), origin and direction stay with the voxels.
The canonical orientation is sagittal: the array axes run right to left (slices), superior to
inferior (rows) and anterior to posterior (columns).
"""

import re
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

import numpy as np
import SimpleITK as sitk

from spineseg.data.headers import (
    COPY_AGAIN,
    EXPORT_AGAIN,
    NOT_FINITE,
    check_geometry,
    check_size,
    locate_voxels,
)
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write

EXTENSIONS = {
    ".nii.gz": "NiftiImageIO",
    ".nii": "NiftiImageIO",
    ".mha": "MetaImageIO",
    ".nrrd": "NrrdImageIO",
}
CANONICAL = "PIL"  # x grows towards posterior, y towards inferior, z towards the left

# ITK can crash if two threads read files at once: github.com/SimpleITK/SimpleITK/issues/74
ITK_LOCK = Lock()

# ITK prints warnings to stderr, bypassing Python. The files that cause them are refused here.
sitk.ProcessObject.SetGlobalWarningDisplay(False)


def extension(path: Path) -> str | None:
    """The known extension that a file's name ends in, or None."""
    return next((known for known in EXTENSIONS if path.name.endswith(known)), None)


def read_scan(path: Path) -> sitk.Image:
    """Read an MR volume as stored: 3-D, one number per voxel, finite and not constant.

    Raises UserError for anything else.
    """
    return as_scan(read_volume(path), path)


def as_scan(image: sitk.Image, path: Path) -> sitk.Image:
    """The image itself. Raises UserError, naming `path`, if all its voxels are equal."""
    values = sitk.GetArrayViewFromImage(image)
    if values.min() == values.max():
        raise UserError.at(path, f"every voxel is {values.flat[0]}", EXPORT_AGAIN)
    return image


def read_mask(path: Path) -> sitk.Image:
    """Read a label volume as stored, as UInt8 (UInt16 if a label exceeds 255).

    Floats are accepted if they are whole numbers. Raises UserError for fractions, for negative
    values and for every file that `read_volume` refuses.
    """
    return as_labels(read_volume(path), path)


def as_labels(image: sitk.Image, path: Path) -> sitk.Image:
    """Cast an image to UInt8 or UInt16. Raises UserError, naming `path`, if that loses values."""
    values = sitk.GetArrayViewFromImage(image)
    remedy = "save the mask with whole-number labels from 0 up"
    if values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise UserError.at(path, "mask values are not whole numbers", remedy)
    low, high = values.min(), values.max()
    if low < 0 or high > np.iinfo(np.uint16).max:
        raise UserError.at(path, f"mask values run from {low:g} to {high:g}", remedy)
    return sitk.Cast(image, sitk.sitkUInt8 if high <= np.iinfo(np.uint8).max else sitk.sitkUInt16)


def read_volume(path: Path) -> sitk.Image:
    """Read any 3-D volume of finite numbers as stored. The header is checked before the voxels.

    Raises UserError for

    - other file types than `EXTENSIONS`, and voxels in a second file;
    - truncated or damaged files, and headers that claim more or far less than the file holds;
    - 2-D images (also single slices), 4-D, colour and complex images;
    - impossible sizes, spacings and positions (limits in `data/headers.py`), and axes that are not
      at right angles;
    - NaN or infinite values.

    NIfTI can state two positions. If they disagree, ITK uses the sform if its code is 1 and its
    axes are at right angles, and otherwise the qform.
    """
    path = Path(path)
    with _user_errors(path), _open(path) as reader, ITK_LOCK:
        image = reader.Execute()
    values = sitk.GetArrayViewFromImage(image)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise UserError.at(path, *NOT_FINITE)
    return image


def canonical_shape(path: Path) -> tuple[int, int, int]:
    """(slices, rows, columns) of the canonical volume, read from the header alone.

    Raises UserError for a header that `read_volume` refuses.
    """
    path = Path(path)
    with _user_errors(path), _open(path) as reader:
        code = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(reader.GetDirection())
    axes = code.translate(str.maketrans("LIP", "RSA"))
    size = dict(zip(axes, reader.GetSize(), strict=True))
    return size["R"], size["S"], size["A"]


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


def geometry_mismatch(image: sitk.Image, reference: sitk.Image, tolerance: float = 0.1) -> str:
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
    _require_extension(path)
    with atomic_write(path) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        try:
            with _open(temporary):
                pass
        except (UserError, zlib.error):  # ITK does not report a disk that fills up during NIfTI
            raise OSError("cut short") from None


def check_target(path: Path) -> None:
    """Raise UserError if `write_image` could not write there: unknown type or missing folder."""
    _require_extension(path)
    if not path.parent.is_dir():
        raise UserError.at(path, "its folder does not exist", "make it first, or write elsewhere")


def _require_extension(path: Path) -> str:
    """The known extension of a file name. Raises UserError for any other name."""
    suffix = extension(path)
    if suffix is None:
        raise UserError.at(path, "not a known image type", f"use one of {' '.join(EXTENSIONS)}")
    try:
        str(path).encode()
    except UnicodeEncodeError:  # SimpleITK would abort the process
        raise UserError.at(path, "its name is not valid UTF-8", "rename it") from None
    return suffix


@contextmanager
def _open(path: Path) -> Iterator[sitk.ImageFileReader]:
    """Yield a reader that has read the checked header, and not the voxels yet."""
    suffix = _require_extension(path)
    if not path.is_file():
        what = "is not a file" if path.exists() else "does not exist"
        raise UserError.at(path, what, "check the name")
    stored = locate_voxels(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(EXTENSIONS[suffix])
    with tempfile.TemporaryDirectory(prefix="scan-") as folder:
        reader.SetFileName(str(stored.prepare_for_itk(Path(folder))))
        with ITK_LOCK:
            reader.ReadImageInformation()
        check_size(reader, stored)
        check_geometry(reader, path)
        yield reader


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
