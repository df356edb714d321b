"""Section 2.1: bring every volume to one shape and 8-bit gray.

The paper resizes all volumes to the most common shape (12 x 880 x 880) and removes the columns left
and right that have only background (464 remain). Here the most common shape of the given data is
used, with an upper bound in plane from the profile. The columns come from the labels of the
training part alone (`cache.crop_window`), so that an unlabelled scan is treated in the same way.

Padding around the image is cropped first (`data/padding.py`). If what remains is an oblique slab,
the grid follows the slab's own axes, so that its slices are those of the scanner.
"""

from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

from spineseg.data.cache import Grid
from spineseg.data.field import Field, field_of_view, image_box
from spineseg.data.gray import gray_range, to_gray
from spineseg.data.padding import ImagePart, image_part
from spineseg.data.volume import geometry_mismatch

SLICE_STEP = 3.0  # mm: nearer slices are thinned for a grid with a given pixel size
FLOAT = sitk.sitkFloat32
FEWEST_FILTERED = 4  # pixels along an axis, which SimpleITK's filter needs
SLAB_VOXELS = 10_000_000  # of a scan are filtered at once, to bound the memory


def target_of(scan: sitk.Image, grid: Grid) -> sitk.Image:
    """The empty image that a network sees of a canonical scan: the kept columns of `grid`."""
    field = field_of_view(scan)
    if grid.pixel is not None:
        return _own_slices(field, grid.pixel)
    return _target_grid(field, grid.slices, grid.size)[grid.window, :, :]


def _target_grid(field: Field, slices: int, size: int) -> sitk.Image:
    """An empty image of slices x size x size voxels over the whole field of view.

    A field of view that is not square is widened, evenly on both sides, to the square of its longer
    side, so that nothing is stretched.
    """
    extent = field.voxels * field.spacing  # mm
    extent[:2] = extent[:2].max()
    new_voxels = np.array([size, size, slices])
    spacing = extent / new_voxels
    first = (field.voxels - 1) / 2 - (new_voxels - 1) / 2 * spacing / field.spacing
    return field.image(new_voxels, spacing, first)


def _own_slices(field: Field, pixel: float) -> sitk.Image:
    """An empty image of the scan's slices, thinned if they are near; pixels are `pixel` mm wide."""
    step = max(1, int(SLICE_STEP / field.spacing[2]))
    spacing = np.array([pixel, pixel, field.spacing[2] * step])
    new_voxels = np.ceil(field.voxels * field.spacing / pixel - 1e-3)
    new_voxels[2] = (field.voxels[2] - 1) // step + 1
    first = (field.voxels - 1) / 2 - (new_voxels - 1) / 2 * spacing / field.spacing
    first[2] = (field.voxels[2] - 1 - (new_voxels[2] - 1) * step) // 2
    return field.image(new_voxels.astype(int), spacing, first)


def image_to_grid(scan: sitk.Image, target: sitk.Image) -> np.ndarray:
    """A canonical scan as 8-bit gray on a grid of `target_of`: uint8 (slices, rows, columns).

    Gray 0 and 255 are the 0.5th and 99.5th percentile of the volume without padding (Eq. 5 works on
    0..255).
    """
    part = image_part(scan)
    low, high = gray_range(sitk.GetArrayViewFromImage(scan), part)
    gray = np.empty(target.GetSize()[::-1], np.uint8)
    if is_oblique := scan.GetDirection() != target.GetDirection():
        scan, part = _smooth_scan(scan, target, part, low), None
    elif part is not None:
        first, last = image_box(part)
        scan = sitk.RegionOfInterest(scan, (last - first + 1).tolist(), first.tolist())
        part = part.cropped(first, last)
    for slices in _slabs(target.GetDepth(), scan.GetNumberOfPixels()):
        slab = target[:, :, slices]
        image = scan
        if not is_oblique:
            image = _low_pass(_filled(scan, _slices_around(scan, slab), part, low), slab)
        if geometry_mismatch(image, slab):
            image = sitk.Resample(image, slab, sitk.Transform(), sitk.sitkLinear, low, FLOAT)
        gray[slices] = to_gray(sitk.GetArrayViewFromImage(image), low, high)
    return gray


def _slabs(slices: int, voxels: int) -> Iterator[slice]:
    """Parts of a grid's slices, for each of which a part of `voxels` is filtered."""
    step = max(1, slices * SLAB_VOXELS // voxels)
    for first in range(0, slices, step):
        yield slice(first, min(first + step, slices))


def _filled(scan: sitk.Image, slices: slice, part: ImagePart | None, low: float) -> sitk.Image:
    """Some slices of a scan in float32, with `low` in place of the padding."""
    slab = sitk.Cast(scan[:, :, slices], FLOAT)
    if part is None:
        return slab
    values = sitk.GetArrayFromImage(slab)
    for index, plane in enumerate(values, slices.start):
        plane[~part.in_slice(index)] = low
    filled = sitk.GetImageFromArray(values)
    filled.CopyInformation(slab)
    return filled


def _smooth_scan(
    scan: sitk.Image, target: sitk.Image, part: ImagePart | None, low: float
) -> sitk.Image:
    """A scan ready to be resampled along other axes: without padding, low-passed and thinned.

    Its voxels keep their type, so that it takes no more memory than the scan.
    """
    every = [max(1, int(ratio / 1.5)) for ratio in _ratios(scan, target)]
    values = sitk.GetArrayViewFromImage(scan)
    columns, rows = (slice(None, None, each) for each in every)
    smooth = np.empty_like(values[:, rows, columns])
    for slices in _slabs(len(values), values.size):
        slab = sitk.GetArrayFromImage(_low_pass(_filled(scan, slices, part, low), target))
        if smooth.dtype.kind in "iu":
            slab = np.rint(slab)
        smooth[slices] = slab[:, rows, columns]
    image = sitk.GetImageFromArray(smooth)
    image.SetOrigin(scan.GetOrigin())
    image.SetDirection(scan.GetDirection())
    image.SetSpacing([*np.multiply(scan.GetSpacing()[:2], every).tolist(), scan.GetSpacing()[2]])
    return image


def _slices_around(scan: sitk.Image, target: sitk.Image) -> slice:
    """The slices of a scan that `target` is interpolated from."""
    ends = [[0, 0, 0], [0, 0, target.GetDepth() - 1]]
    found = sorted(
        scan.TransformPhysicalPointToContinuousIndex(target.TransformIndexToPhysicalPoint(end))[2]
        for end in ends
    )
    first, last = np.floor(found[0] - 1e-3), np.ceil(found[1] + 1e-3) + 1
    depth = scan.GetDepth()
    return slice(int(np.clip(first, 0, depth - 1)), int(np.clip(last, 1, depth)))


def _low_pass(image: sitk.Image, target: sitk.Image) -> sitk.Image:
    """Low-pass filter in plane before downsampling, to avoid aliasing."""
    for axis, ratio in enumerate(_ratios(image, target)):
        if ratio > 1.5 and image.GetSize()[axis] >= FEWEST_FILTERED:
            sigma = 0.3 * np.sqrt(ratio**2 - 1) * image.GetSpacing()[axis]  # mm
            image = sitk.RecursiveGaussian(image, sigma, direction=axis)
    return image


def _ratios(image: sitk.Image, target: sitk.Image) -> list[float]:
    """How many columns and rows of an image a pixel of the target spans."""
    return [target.GetSpacing()[axis] / image.GetSpacing()[axis] for axis in (0, 1)]


def classes_to_grid(classes: np.ndarray, scan: sitk.Image, target: sitk.Image) -> np.ndarray:
    """The classes of a canonical scan's voxels on a grid of `target_of`: uint8, its shape."""
    mask = sitk.GetImageFromArray(classes)
    mask.CopyInformation(scan)
    if geometry_mismatch(mask, target):
        mask = sitk.Resample(mask, target, interpolator=sitk.sitkLabelLinear)
    return sitk.GetArrayFromImage(mask)
