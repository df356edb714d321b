"""Section 2.1: bring every volume to one shape and 8-bit gray.

The paper resizes all volumes to the most common shape (12 x 880 x 880) and removes the columns left
and right that have only background (464 remain). Here the most common shape of the given data is
used, with an upper bound in plane from the profile. The columns come from the labels of the
training part alone (`cache.crop_window`), so that an unlabelled scan is treated in the same way.

Padding around the image is cropped first (`data/padding.py`). If what remains is an oblique slab,
the grid follows the slab's own axes, so that its slices are those of the scanner.
"""

import numpy as np
import SimpleITK as sitk

from spineseg.data.cache import Grid
from spineseg.data.field import Field, field_of_view
from spineseg.data.gray import gray_range, to_gray
from spineseg.data.padding import ImagePart, image_part
from spineseg.data.volume import geometry_mismatch

SLICE_STEP = 3.0  # mm: nearer slices are thinned for a grid with a given pixel size
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
    if scan.GetDirection() != target.GetDirection():
        return to_gray(_along_slab(scan, target, low), low, high)
    slices = target.GetDepth()
    step = max(1, int(slices * SLAB_VOXELS / scan.GetNumberOfPixels()))
    slabs = [target[:, :, first : first + step] for first in range(0, slices, step)]
    return np.concatenate([_slab_to_grid(scan, slab, part, low, high) for slab in slabs])


def _along_slab(scan: sitk.Image, target: sitk.Image, low: float) -> np.ndarray:
    """The intensities of an oblique slab along its own axes, float32 (slices, rows, columns)."""
    ratio = np.array(target.GetSpacing()) / scan.GetSpacing()
    shrink = [max(1, int(each)) for each in ratio[:2]] + [1]
    if shrink != [1, 1, 1]:
        scan = sitk.BinShrink(scan, shrink)
    return sitk.GetArrayFromImage(
        sitk.Resample(scan, target, defaultPixelValue=low, outputPixelType=sitk.sitkFloat32)
    )


def _slab_to_grid(
    scan: sitk.Image, target: sitk.Image, part: ImagePart | None, low: float, high: float
) -> np.ndarray:
    first, last = _slices_around(scan, target)
    slab = sitk.Cast(scan[:, :, first:last], sitk.sitkFloat32)
    if part is not None:
        values = sitk.GetArrayFromImage(slab)
        for index in range(first, last):
            values[index - first][~part.in_slice(index)] = low
        filled = sitk.GetImageFromArray(values)
        filled.CopyInformation(slab)
        slab = filled
    smooth = _low_pass(slab, target)
    if geometry_mismatch(smooth, target):
        smooth = sitk.Resample(smooth, target, defaultPixelValue=low)
    return to_gray(sitk.GetArrayViewFromImage(smooth), low, high)


def _slices_around(scan: sitk.Image, target: sitk.Image) -> tuple[int, int]:
    """First, and one past the last, slice of a scan that `target` is interpolated from."""
    ends = [[0, 0, 0], [0, 0, target.GetDepth() - 1]]
    found = sorted(
        scan.TransformPhysicalPointToContinuousIndex(target.TransformIndexToPhysicalPoint(end))[2]
        for end in ends
    )
    first, last = np.floor(found[0] - 1e-3), np.ceil(found[1] + 1e-3) + 1
    depth = scan.GetDepth()
    return int(np.clip(first, 0, depth - 1)), int(np.clip(last, 1, depth))


def _low_pass(image: sitk.Image, target: sitk.Image) -> sitk.Image:
    """Low-pass filter in plane before downsampling, to avoid aliasing."""
    for axis in (0, 1):
        ratio = target.GetSpacing()[axis] / image.GetSpacing()[axis]
        if ratio > 1.5:
            sigma = 0.3 * np.sqrt(ratio**2 - 1) * image.GetSpacing()[axis]  # mm
            image = sitk.RecursiveGaussian(image, sigma, direction=axis)
    return image


def classes_to_grid(classes: np.ndarray, scan: sitk.Image, target: sitk.Image) -> np.ndarray:
    """The classes of a canonical scan's voxels on a grid of `target_of`: uint8, its shape."""
    mask = sitk.GetImageFromArray(classes)
    mask.CopyInformation(scan)
    if geometry_mismatch(mask, target):
        mask = sitk.Resample(mask, target, interpolator=sitk.sitkLabelLinear)
    return sitk.GetArrayFromImage(mask)
