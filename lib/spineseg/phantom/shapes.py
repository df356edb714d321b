"""Analytic shapes in millimetres and the canvas that rasterises them.

World axes are x (right to left), y (superior to inferior) and z (anterior to posterior), all in
mm, with the origin at the centre of L3. Voxel arithmetic keeps to float32 ``+ - * /`` and
``sqrt``, which IEEE 754 rounds alike on every processor; everything transcendental is done in
float64 on a few numbers before.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating]  # float32 wherever there is one a voxel
Box = tuple[NDArray[np.float64], NDArray[np.float64]]

SUBSLICES = 3  # samples through a slice's thickness: its partial volume


def linear_weights(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Floats]:
    """Neighbours and weight for each of `new_size` pixel centres among `size` over one extent."""
    position = (np.arange(new_size) + 0.5) * (size / new_size) - 0.5
    position = np.clip(position, 0, size - 1)
    low = np.floor(position).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), (position - low).astype(np.float32)


def resize(values: NDArray, rows: int, cols: int) -> Floats:
    """Linear in-plane interpolation of (slices, r, c) to (slices, rows, cols), same extent."""
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


def ramp(distance: Floats, width: float) -> Floats:
    """Coverage of a voxel whose centre lies `distance` mm inside an edge blurred over `width`."""
    coverage = distance / np.float32(width)
    coverage += np.float32(0.5)
    return np.clip(coverage, 0, 1, out=coverage)


@dataclass(frozen=True)
class Grid:
    """Voxel centres in mm along x, y and z, and the in-plane pixel size in mm."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    thickness: float
    pixel: float

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.x), len(self.y), len(self.z)

    @cached_property
    def subslices(self) -> NDArray[np.float64]:
        offsets = (np.arange(SUBSLICES) + 0.5) / SUBSLICES - 0.5
        return (self.x[:, None] + offsets * self.thickness).ravel()

    def resampled(self, rows: int, cols: int) -> "Grid":
        """The same field of view in another in-plane matrix."""

        def along(axis: NDArray[np.float64], count: int) -> NDArray[np.float64]:
            step = self.pixel * len(axis) / count
            return axis[0] - self.pixel / 2 + (np.arange(count) + 0.5) * step

        pixel = self.pixel * len(self.y) / rows
        return Grid(self.x, along(self.y, rows), along(self.z, cols), self.thickness, pixel)

    def window(self, box: Box) -> tuple[slice, slice, slice]:
        """Index ranges of the voxels that the box (lower and upper corner, mm) may touch."""
        margin = np.array([self.thickness / 2, 2 * self.pixel, 2 * self.pixel])
        ranges = []
        for axis, low, high in zip(
            (self.x, self.y, self.z), box[0] - margin, box[1] + margin, strict=True
        ):
            start, stop = np.searchsorted(axis, (low, high))
            ranges.append(slice(int(start), int(stop)))
        return ranges[0], ranges[1], ranges[2]


class Shape(Protocol):
    def box(self) -> Box:
        """Lower and upper corner (x, y, z) in mm."""
        ...

    def depth(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Distance in mm to the surface, positive inside, for broadcastable coordinates."""
        ...


@dataclass(frozen=True)
class Frame:
    """A structure's own axes: rows of `axes` are its posterior, inferior and left directions."""

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def tilted(
        cls, origin: ArrayLike, sagittal: float, coronal: float = 0.0, axial: float = 0.0
    ) -> "Frame":
        """Angles in radians; a positive sagittal tilt leans the top forwards."""
        cs, ss = np.cos(sagittal), np.sin(sagittal)
        cc, sc = np.cos(coronal), np.sin(coronal)
        ca, sa = np.cos(axial), np.sin(axial)
        posterior = np.array([0.0, -ss, cs])
        inferior = np.array([sc, cs * cc, ss * cc])
        left = np.cross(inferior, posterior)
        left *= np.sign(left[0]) / np.sqrt((left**2).sum())
        posterior, left = ca * posterior + sa * left, ca * left - sa * posterior
        return cls(np.asarray(origin, dtype=np.float64), np.stack([posterior, inferior, left]))

    def point(self, u: float, v: float, w: float) -> NDArray[np.float64]:
        """World position of a local point."""
        return self.origin + u * self.axes[0] + v * self.axes[1] + w * self.axes[2]

    def at(self, u: float, v: float, w: float, pitch: float = 0.0) -> "Frame":
        """A frame at a local point, its posterior axis pitched downwards by `pitch` radians."""
        cos, sin = np.cos(pitch), np.sin(pitch)
        posterior, inferior, left = self.axes
        axes = np.stack([cos * posterior + sin * inferior, cos * inferior - sin * posterior, left])
        return Frame(self.point(u, v, w), axes)

    def box(self, half: ArrayLike) -> Box:
        reach = (np.abs(self.axes) * np.asarray(half)[:, None]).sum(axis=0)
        return self.origin - reach, self.origin + reach

    def local(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        dx, dy, dz = (
            axis - np.float32(start) for axis, start in zip((x, y, z), self.origin, strict=True)
        )
        u, v, w = (
            (np.float32(a[0]) * dx + np.float32(a[1]) * dy) + np.float32(a[2]) * dz
            for a in self.axes
        )
        return u, v, w


@dataclass(frozen=True)
class Ellipsoid:
    """Half-axes in mm along the frame's posterior, inferior and left; boxier with `boxy`."""

    frame: Frame
    radii: ArrayLike
    boxy: bool = False

    def box(self) -> Box:
        return self.frame.box(self.radii)

    def depth(self, x: Floats, y: Floats, z: Floats) -> Floats:
        level: Floats = np.zeros(1, dtype=np.float32)
        slope: Floats = np.full(1, 1e-6, dtype=np.float32)
        for position, radius in zip(self.frame.local(x, y, z), np.asarray(self.radii), strict=True):
            unit = position / np.float32(radius)
            square = unit * unit
            if self.boxy:
                gradient = np.float32(2 / radius) * square * unit
                square = square * square
            else:
                gradient = unit / np.float32(radius)
            level = level + square
            slope = slope + gradient * gradient
        return (1 - level) / (2 * np.sqrt(slope))


@dataclass(frozen=True)
class Barrel:
    """A vertebral body, sacral segment or disc: rounded walls between two endplates.

    Lengths in mm along the frame's axes. `top` and `bottom` are the endplates' heights gained per
    mm backwards, so a wedge has negative ones if it is higher in front.
    """

    frame: Frame
    half_depth: float
    half_height: float
    half_width: float
    top: float = 0.0
    bottom: float = 0.0
    concavity: tuple[float, float] = (0.0, 0.0)  # mm that the upper and lower endplate sink
    waist: float = 0.0  # fraction by which the walls draw in at mid height
    taper: float = 0.0  # fraction by which the lower end is wider than the middle
    roundness: float = 0.5  # 1 an ellipse in cross-section, 0 nearly a rectangle
    corner: float = 3.0  # mm

    def box(self) -> Box:
        stretch = 1 + abs(self.taper)
        dome = max(0.0, -min(self.concavity))
        wedge = max(abs(self.top), abs(self.bottom)) * self.half_depth
        half = (
            self.half_depth * stretch,
            self.half_height + wedge + dome,
            self.half_width * stretch,
        )
        return self.frame.box(half)

    def depth(self, x: Floats, y: Floats, z: Floats) -> Floats:
        u, v, w = self.frame.local(x, y, z)
        level = np.clip(v / np.float32(self.half_height), -1, 1)
        girth = (1 - np.float32(self.waist)) + level * (
            np.float32(self.waist) * level + np.float32(self.taper)
        )
        unit_u = u / (np.float32(self.half_depth) * girth)
        unit_w = w / (np.float32(self.half_width) * girth)
        square_u, square_w = unit_u * unit_u, unit_w * unit_w
        radius = square_u + square_w

        round_, square = np.float32(self.roundness), np.float32(1 - self.roundness)
        inside = 1 - radius * round_ - (square_u * square_u + square_w * square_w) * square
        slope_u = unit_u * (2 * round_ + 4 * square * square_u) / np.float32(self.half_depth)
        slope_w = unit_w * (2 * round_ + 4 * square * square_w) / np.float32(self.half_width)
        wall = inside / np.sqrt(slope_u * slope_u + slope_w * slope_w + np.float32(1e-5))

        dome = np.maximum(1 - radius, 0)
        half_height = np.float32(self.half_height)
        upper = v + half_height + np.float32(self.top) * u - np.float32(self.concavity[0]) * dome
        lower = half_height + np.float32(self.bottom) * u - np.float32(self.concavity[1]) * dome - v
        return rounded_intersection(wall, np.minimum(upper, lower), self.corner)


def rounded_intersection(a: Floats, b: Floats, radius: float) -> Floats:
    """Distance inside both surfaces, their common edge rounded to `radius` mm."""
    r = np.float32(radius)
    gap_a, gap_b = np.maximum(r - a, 0), np.maximum(r - b, 0)
    return np.maximum(np.minimum(a, b), r) - np.sqrt(gap_a * gap_a + gap_b * gap_b)


@dataclass(frozen=True)
class Tube:
    """A tube along the spine: its centre and half-axes (mm) are interpolated over `y` (mm)."""

    y: NDArray[np.float64]
    x: NDArray[np.float64]
    z: NDArray[np.float64]
    half_depth: NDArray[np.float64]
    half_width: NDArray[np.float64]

    def box(self) -> Box:
        low = [
            (self.x - self.half_width).min(),
            self.y.min(),
            (self.z - 1.6 * self.half_depth).min(),
        ]
        high = [
            (self.x + self.half_width).max(),
            self.y.max(),
            (self.z + 1.6 * self.half_depth).max(),
        ]
        return np.array(low), np.array(high)

    @cached_property
    def slant(self) -> NDArray[np.float64]:
        """Cosine of the angle between the tube and the vertical in the sagittal plane."""
        return np.maximum(1 / np.sqrt(1 + np.gradient(self.z, self.y) ** 2), 0.6)

    def depth(self, x: Floats, y: Floats, z: Floats) -> Floats:
        def along(values: NDArray[np.float64]) -> Floats:
            return np.interp(y, self.y, values, left=values[0], right=values[-1]).astype(np.float32)

        half_depth = np.maximum(along(self.half_depth), np.float32(0.05))
        half_width = np.maximum(along(self.half_width), np.float32(0.05))
        dz = (z - along(self.z)) * along(self.slant)
        dx = (x - along(self.x)) * (half_depth / half_width)
        return half_depth - np.sqrt(dz * dz + dx * dx)


@dataclass
class Canvas:
    """MR signal (float32) and challenge labels (uint8), painted back to front.

    `blur` is the width in mm over which the scanner's point spread smears an edge.
    """

    grid: Grid
    signal: Floats
    blur: float
    labels: NDArray[np.uint8] = field(init=False)

    def __post_init__(self) -> None:
        self.labels = np.zeros(self.grid.shape, dtype=np.uint8)

    def paint(
        self,
        shape: Shape,
        *layers: tuple[float, float],
        label: int = 0,
        opacity: float = 1.0,
        softness: float = 0.0,
    ) -> None:
        """Lay the shape over what is there.

        Each layer is (mm below the surface where it begins, signal). Voxels at least half covered
        take `label` if they have none yet. `softness` widens the edge by so many mm.
        """
        sx, sy, sz = window = self.grid.window(shape.box())
        target = self.signal[window]
        if target.size == 0:
            return
        fine = slice(sx.start * SUBSLICES, sx.stop * SUBSLICES)
        depth = shape.depth(
            self.grid.subslices[fine, None, None].astype(np.float32),
            self.grid.y[None, sy, None].astype(np.float32),
            self.grid.z[None, None, sz].astype(np.float32),
        )
        edge = max(self.grid.pixel, self.blur) + softness
        for below, signal in layers:
            coverage = slice_average(ramp(depth - np.float32(below), edge))
            if label and below == 0:
                labels = self.labels[window]
                labels[(coverage >= 0.5) & (labels == 0)] = label
            target += (coverage * np.float32(opacity)) * (np.float32(signal) - target)


def slice_average(values: Floats) -> Floats:
    """Mean over each slice's subslices, added in a fixed order."""
    total = values[0::SUBSLICES]
    for sub in range(1, SUBSLICES):
        total = total + values[sub::SUBSLICES]
    return total / np.float32(SUBSLICES)
