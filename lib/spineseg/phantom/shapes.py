"""Analytic shapes in millimetres: ellipsoids, barrels (bodies and discs) and tubes.

World axes and origin are those of `grid`. Each shape tells how deep a point is below its surface.
Arithmetic on voxels uses only float32 ``+ - * /`` and ``sqrt``: IEEE 754 rounds these alike on
every processor. All other functions (sine, exponential) are evaluated before, in float64, on a few
numbers.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spineseg.phantom.grid import Box, Floats


class Shape(Protocol):
    """Anything that a canvas can paint."""

    def box(self) -> Box:
        """Lower and upper corner of a box around the shape, (x, y, z) in mm."""
        ...

    def depth(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Approximate distance (mm) to the surface, positive inside.

        The coordinates (mm) broadcast against each other.
        """
        ...


@dataclass(frozen=True)
class Frame:
    """A structure's own axes: rows of `axes` are its posterior, inferior and left directions.

    Local coordinates (u, v, w) are mm along these three directions from `origin`.
    """

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    @classmethod
    def tilted(
        cls, origin: ArrayLike, sagittal: float, coronal: float = 0.0, axial: float = 0.0
    ) -> "Frame":
        """Tilt the world's axes by angles in radians; a positive `sagittal` leans the top forwards.

        `origin` is (x, y, z) in mm.
        """
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
        """World position (x, y, z) of a local point."""
        return self.origin + u * self.axes[0] + v * self.axes[1] + w * self.axes[2]

    def at(self, u: float, v: float, w: float, pitch: float = 0.0) -> "Frame":
        """A frame at a local point, its posterior axis turned downwards by `pitch` radians."""
        cos, sin = np.cos(pitch), np.sin(pitch)
        posterior, inferior, left = self.axes
        axes = np.stack([cos * posterior + sin * inferior, cos * inferior - sin * posterior, left])
        return Frame(self.point(u, v, w), axes)

    def box(self, half: ArrayLike) -> Box:
        """The world's box around a local box with half-lengths `half` (u, v, w)."""
        reach = (np.abs(self.axes) * np.asarray(half)[:, None]).sum(axis=0)
        return self.origin - reach, self.origin + reach

    def local(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Local coordinates (u, v, w) of world coordinates."""
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
    """`radii` are half-axes (mm) along the frame's posterior, inferior and left directions.

    With `boxy` the exponent is 4 instead of 2, which makes the shape more like a box.
    """

    frame: Frame
    radii: ArrayLike
    boxy: bool = False

    def box(self) -> Box:
        return self.frame.box(self.radii)

    def depth(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """The level set divided by its slope."""
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

    Lengths are mm along the frame's axes. `top` and `bottom` are the heights that the upper and
    lower endplate gain per mm backwards; they are negative for a wedge that is higher in front.
    """

    frame: Frame
    half_depth: float
    half_height: float
    half_width: float
    top: float = 0.0
    bottom: float = 0.0
    concavity: tuple[float, float] = (0.0, 0.0)  # mm by which the upper and lower endplate sink
    waist: float = 0.0  # fraction by which the walls are narrower at mid height
    taper: float = 0.0  # fraction by which the lower end is wider than the middle
    roundness: float = 0.5  # cross-section: 1 is an ellipse, 0 nearly a rectangle
    corner: float = 3.0  # mm, radius of the rim between wall and endplate

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
        return rounded_intersection(wall, self._endplate_depth(u, v, radius), self.corner)

    def _endplate_depth(self, u: Floats, v: Floats, radius: Floats) -> Floats:
        """Depth below the nearer endplate; `radius` is the squared distance from the axis (0-1)."""
        dome = np.maximum(1 - radius, 0)
        half_height = np.float32(self.half_height)
        upper = v + half_height + np.float32(self.top) * u - np.float32(self.concavity[0]) * dome
        lower = half_height + np.float32(self.bottom) * u - np.float32(self.concavity[1]) * dome - v
        return np.minimum(upper, lower)


def rounded_intersection(a: Floats, b: Floats, radius: float) -> Floats:
    """Depth inside both of two surfaces, given the depth inside each.

    Their common edge is rounded to `radius` mm.
    """
    r = np.float32(radius)
    gap_a, gap_b = np.maximum(r - a, 0), np.maximum(r - b, 0)
    return np.maximum(np.minimum(a, b), r) - np.sqrt(gap_a * gap_a + gap_b * gap_b)


@dataclass(frozen=True)
class Tube:
    """A tube along the spine: centre (x, z) and half-axes, interpolated over rising y (all mm)."""

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
