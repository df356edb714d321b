"""Section 2.1: bring every volume to one shape and 8-bit gray.

The paper resizes all volumes to the most common shape (12 x 880 x 880) and removes the columns left
and right that have only background (464 remain). Here the most common shape of the given data is
used, with an upper bound in plane from the profile. The columns come from the labels of the
training part alone (`cache.crop_window`), so that an unlabelled scan is treated in the same way.
"""

import numpy as np
import SimpleITK as sitk

from spineseg.data.gray import gray_range, to_gray
from spineseg.data.volume import geometry_mismatch


def target_grid(image: sitk.Image, slices: int, size: int) -> sitk.Image:
    """An empty image of slices x size x size voxels over the whole field of view of `image`.

    `image` is canonical. A field of view that is not square is widened, evenly on both sides, to
    the square of its longer side, so that nothing is stretched.
    """
    voxels = np.array(image.GetSize())  # columns, rows, slices
    extent = voxels * image.GetSpacing()  # mm
    extent[:2] = extent[:2].max()
    new_voxels = np.array([size, size, slices])
    spacing = extent / new_voxels
    first = (voxels - 1) / 2 - (new_voxels - 1) / 2 * spacing / image.GetSpacing()
    grid = sitk.Image(new_voxels.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(spacing.tolist())
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(first.tolist()))
    return grid


def image_to_grid(image: sitk.Image, slices: int, size: int) -> np.ndarray:
    """A canonical scan as 8-bit gray on the target grid: uint8 (slices, size, size).

    Gray 0 and 255 are the volume's 0.5th and 99.5th percentile (Eq. 5 works on 0..255).
    """
    low, high = gray_range(sitk.GetArrayViewFromImage(image))
    grid = target_grid(image, slices, size)
    smooth = _low_pass(sitk.Cast(image, sitk.sitkFloat32), grid)
    if geometry_mismatch(smooth, grid):
        smooth = sitk.Resample(smooth, grid, defaultPixelValue=low)
    return to_gray(sitk.GetArrayViewFromImage(smooth), low, high)


def _low_pass(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Low-pass filter in plane before downsampling, to avoid aliasing."""
    for axis in (0, 1):
        ratio = grid.GetSpacing()[axis] / image.GetSpacing()[axis]
        if ratio > 1.5:
            sigma = 0.3 * np.sqrt(ratio**2 - 1) * image.GetSpacing()[axis]  # mm
            image = sitk.RecursiveGaussian(image, sigma, direction=axis)
    return image


def classes_to_grid(classes: np.ndarray, image: sitk.Image, slices: int, size: int) -> np.ndarray:
    """The classes of a canonical scan's voxels on the target grid: uint8 (slices, size, size)."""
    mask = sitk.GetImageFromArray(classes)
    mask.CopyInformation(image)
    grid = target_grid(image, slices, size)
    if geometry_mismatch(mask, grid):
        mask = sitk.Resample(mask, grid, interpolator=sitk.sitkLabelLinear)
    return sitk.GetArrayFromImage(mask)
