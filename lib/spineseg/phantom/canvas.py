"""The canvas: it turns shapes into MR signal and labels, one painted over the other."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from spineseg.phantom.grid import SUBSLICES, Floats, VoxelGrid
from spineseg.phantom.shapes import Shape


@dataclass
class Canvas:
    """MR signal (float32) and challenge labels (uint8), both (slices, rows, columns).

    `blur` is the width in mm over which the scanner's point spread smears an edge.
    """

    grid: VoxelGrid
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
        """Paint a shape over the present signal.

        Each layer is a pair: the depth below the shape's surface at which it begins (mm), and its
        signal. Voxels that are at least half covered get `label` if they have none yet. `softness`
        widens the edge (mm).
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


def ramp(distance: Floats, width: float) -> Floats:
    """Coverage (0 to 1) of voxels whose centres are `distance` mm inside an edge.

    The edge is blurred over `width` mm.
    """
    coverage = distance / np.float32(width)
    coverage += np.float32(0.5)
    return np.clip(coverage, 0, 1, out=coverage)


def slice_average(values: Floats) -> Floats:
    """Mean over each slice's SUBSLICES samples, added in a fixed order: (slices, rows, columns)."""
    total = values[0::SUBSLICES]
    for sub in range(1, SUBSLICES):
        total = total + values[sub::SUBSLICES]
    return total / np.float32(SUBSLICES)
