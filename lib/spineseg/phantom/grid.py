"""The voxel grid of a simulated scan, and linear interpolation in plane.

World axes are x (right to left), y (superior to inferior) and z (anterior to posterior), in mm.
The origin is the centre of L3. Arrays are (slices, rows, columns) along x, y and z.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]  # float32 for arrays with one value per voxel
Box = tuple[NDArray[np.float64], NDArray[np.float64]]  # lower and upper corner, (x, y, z) in mm

SUBSLICES = 3  # samples through a slice's thickness, for its partial volume effect


@dataclass(frozen=True)
class VoxelGrid:
    """Voxel centres (mm) along x, y and z, slice thickness and in-plane pixel size (mm)."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    thickness: float
    pixel: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows, columns."""
        return len(self.x), len(self.y), len(self.z)

    @cached_property
    def subslices(self) -> NDArray[np.float64]:
        """x (mm) of the samples through the slices, (slices * SUBSLICES,)."""
        offsets = (np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5
        return (self.x[:, None] + offsets * self.thickness).ravel()

    def resampled(self, rows: int, cols: int) -> "VoxelGrid":
        """The same field of view with another in-plane matrix."""

        def along(axis: NDArray[np.float64], count: int) -> NDArray[np.float64]:
            step = self.pixel * len(axis) / count
            return axis[0] - self.pixel / 2 + (np.arange(count) + 0.5) * step

        pixel = self.pixel * len(self.y) / rows
        return VoxelGrid(self.x, along(self.y, rows), along(self.z, cols), self.thickness, pixel)

    def window(self, box: Box) -> tuple[slice, slice, slice]:
        """Index ranges of the voxels that a shape within `box` may touch."""
        margin = np.array([self.thickness / 2, 2 * self.pixel, 2 * self.pixel])
        ranges = []
        for axis, low, high in zip(
            (self.x, self.y, self.z), box[0] - margin, box[1] + margin, strict=True
        ):
            start, stop = np.searchsorted(axis, (low, high))
            ranges.append(slice(int(start), int(stop)))
        return ranges[0], ranges[1], ranges[2]


def resize(values: NDArray, rows: int, cols: int) -> Floats:
    """Interpolate (slices, r, c) linearly in plane to float32 (slices, rows, cols), same extent."""
    low_col, high_col, col_weight = linear_weights(values.shape[2], cols)
    low_row, high_row, row_weight = linear_weights(values.shape[1], rows)
    resized = np.empty((len(values), rows, cols), dtype=np.float32)
    for plane, target in zip(values.astype(np.float32), resized, strict=True):
        wide = plane[:, low_col]
        wide += (plane[:, high_col] - wide) * col_weight
        np.take(wide, low_row, axis=0, out=target, mode="clip")
        rise = wide[high_row]
        rise -= target
        rise *= row_weight[:, None]
        target += rise
    return resized


def linear_weights(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Lower neighbour, upper neighbour and the upper one's weight, each (new_size,).

    Both `size` old and `new_size` new pixels divide the same extent evenly.
    """
    position = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    position = np.clip(position, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (position - low).astype(np.float32)
