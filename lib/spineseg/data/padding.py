"""Which voxels of a scan are constant padding around the image.

A scan that was resampled to other axes is an oblique slab in a box, and the rest of the box is
filled with one value. SPIDER pads up to 70 % of a scan with -1000. A scanner that masks the air
writes zeros. Both are padding here; air with noise is not.
"""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

CORNER_SHARE = 1 / 32  # a corner of this size in plane that is constant suggests padding
CORNER_PIXELS = 6  # its least size: noise of few gray values can repeat in fewer pixels
LEAST_SHARE = 0.01  # less padding than this is not worth a change
LEAST_OTHER_SHARE = 0.1  # of a value that is neither the smallest nor the largest of the scan


@dataclass(frozen=True, eq=False)
class ImagePart:
    """The voxels of a canonical scan that are not padding.

    Each line through the slices has image from its first to its last voxel that differs from the
    padding. So dark voxels within the image are not taken for padding.
    """

    padding: float  # the value
    first: np.ndarray  # (rows, columns): the first slice with image; `slices` if there is none
    last: np.ndarray  # (rows, columns): the last slice with image; -1 if there is none
    slices: int

    @property
    def thickness(self) -> np.ndarray:
        """The number of slices with image along each line (rows, columns)."""
        return np.maximum(self.last - self.first + 1, 0)

    @property
    def share(self) -> float:
        """The share of the scan's voxels that are image."""
        return float(self.thickness.mean() / self.slices)

    def in_slice(self, index: int) -> np.ndarray:
        """Where a slice has image: bool (rows, columns)."""
        return (self.first <= index) & (index <= self.last)

    def cropped(self, first: np.ndarray, last: np.ndarray) -> "ImagePart":
        """The same part of the scan from `first` to `last` (column, row, slice)."""
        lines = slice(first[1], last[1] + 1), slice(first[0], last[0] + 1)
        low, high = (plane[lines] - first[2] for plane in (self.first, self.last))
        return ImagePart(self.padding, low, high, int(last[2] - first[2] + 1))

    def clear_outside(self, classes: np.ndarray) -> None:
        """Set the padding of a mask (slices, rows, columns) to background."""
        for index, plane in enumerate(classes):
            plane[~self.in_slice(index)] = 0


def image_part(scan: sitk.Image) -> ImagePart | None:
    """The part of a canonical scan that is not padding; None if there is no padding.

    The share of padding is `1 - image_part(scan).share`.
    """
    values = sitk.GetArrayViewFromImage(scan)
    corners = _constant_corners(values)
    ends = (values.min(), values.max()) if corners else ()
    for padding in corners:
        part = _without(values, padding)
        if (LEAST_SHARE if padding in ends else LEAST_OTHER_SHARE) < 1 - part.share < 1:
            return part
    return None


def _constant_corners(values: np.ndarray) -> list[float]:
    """The values of those corners of the volume that are constant, the most frequent first."""
    rows, columns = (
        min(count, max(CORNER_PIXELS, int(count * CORNER_SHARE))) for count in values.shape[1:]
    )
    found = []
    for plane in (values[0], values[-1]):
        for part in (plane[:rows], plane[-rows:]):
            for corner in (part[:, :columns], part[:, -columns:]):
                if corner.min() == corner.max():
                    found.append(corner.flat[0].item())
    return sorted(set(found), key=found.count, reverse=True)


def _without(values: np.ndarray, padding: float) -> ImagePart:
    slices = len(values)
    first = np.full(values.shape[1:], slices, np.int32)
    last = np.full(values.shape[1:], -1, np.int32)
    for index, plane in enumerate(values):
        image = plane != padding
        np.minimum(first, index, out=first, where=image)
        last[image] = index
    return ImagePart(padding, first, last, slices)
