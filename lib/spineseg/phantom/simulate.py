"""From a seed to an image and its mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineseg.phantom.acquisition import Scanner, acquire, draw_scanner
from spineseg.phantom.anatomy import View, draw_patient
from spineseg.phantom.canvas import Canvas
from spineseg.phantom.grid import VoxelGrid
from spineseg.phantom.signals import Signals, draw_signals
from spineseg.phantom.spine import Spine, build_spine, fit_view
from spineseg.phantom.structures import Painter
from spineseg.phantom.surroundings import draw_habitus, paint_surroundings

Seed = int | np.random.SeedSequence | np.random.Generator


@dataclass(frozen=True, eq=False)
class Phantom:
    """One scan. Slices run from right to left, rows downwards, columns from front to back."""

    image: NDArray[np.uint16]  # (slices, rows, columns)
    mask: NDArray[np.uint8]  # the same shape, the challenge's labels 0 to 19
    spacing: tuple[float, float, float]  # mm between slices, rows, columns


def simulate(shape: tuple[int, int, int], seed: Seed, *, bodies_only: bool = False) -> Phantom:
    """Simulate one patient's scan of `shape` (slices, rows, columns).

    A seed gives the same patient at every in-plane size. With `bodies_only` the mask leaves out
    the posterior elements, as data sets do that label the vertebral bodies alone; the image is the
    same. Raises ValueError for a shape that is not three positive integers.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape must be (slices, rows, cols), all at least 1, not {shape}")
    seeds = np.random.default_rng(seed).integers(2**63, size=3)
    anatomy_rng, tissue_rng, scanner_rng = (np.random.default_rng(each) for each in seeds)

    patient = draw_patient(anatomy_rng)
    spine = build_spine(patient)
    grid = place_grid(shape, fit_view(spine))
    scanner = draw_scanner(scanner_rng)
    signals = draw_signals(tissue_rng)
    image, labels = scan(grid, spine, signals, scanner, tissue_rng, scanner_rng, bodies_only)
    return Phantom(image, labels, (patient.view.thickness, grid.pixel, grid.pixel))


def scan(
    grid: VoxelGrid,
    spine: Spine,
    signals: Signals,
    scanner: Scanner,
    tissue_rng: np.random.Generator,
    scanner_rng: np.random.Generator,
    bodies_only: bool,
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    """The image and the challenge's labels of a spine on a grid, both (slices, rows, columns)."""
    habitus = draw_habitus(tissue_rng)
    surroundings = paint_surroundings(grid, spine, signals, habitus, tissue_rng)
    canvas = Canvas(grid, surroundings, scanner.blur)
    Painter(canvas, spine, signals, habitus, tissue_rng, bodies_only).paint()
    return acquire(canvas, spine, scanner, scanner_rng), canvas.labels


def place_grid(shape: tuple[int, int, int], view: View) -> VoxelGrid:
    """Voxel centres of a field of view; `shape` is (slices, rows, columns)."""
    slices, rows, cols = shape
    pixel = view.fov / max(rows, cols)
    x = view.x + (np.arange(slices, dtype=np.float64) - (slices - 1) / 2) * view.thickness
    y = view.y + (np.arange(rows, dtype=np.float64) + 0.5 - rows / 2) * pixel
    z = view.z + (np.arange(cols, dtype=np.float64) + 0.5 - cols * view.middle_at) * pixel
    return VoxelGrid(x, y, z, view.thickness, pixel)
