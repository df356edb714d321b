"""From a seed to an image and its mask."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spineseg.phantom.acquisition import acquire, draw_scanner
from spineseg.phantom.anatomy import View, build_spine, draw_patient, fit_view
from spineseg.phantom.shapes import Canvas, Grid
from spineseg.phantom.signals import draw_signals
from spineseg.phantom.structures import Painter
from spineseg.phantom.surroundings import draw_habitus, paint_surroundings

Seed = int | np.random.SeedSequence | np.random.Generator


@dataclass(frozen=True, eq=False)
class Phantom:
    """One scan. Axes are slices right to left, rows downwards, columns front to back."""

    image: NDArray[np.uint16]  # (slices, rows, cols)
    mask: NDArray[np.uint8]  # the same shape, the challenge's labels 0..19
    spacing: tuple[float, float, float]  # mm between slices, rows, columns


def place_grid(shape: tuple[int, int, int], view: View) -> Grid:
    """Voxel centres of the field of view in patient coordinates."""
    slices, rows, cols = shape
    pixel = view.fov / max(rows, cols)
    x = view.x + (np.arange(slices, dtype=np.float64) - (slices - 1) / 2) * view.thickness
    y = view.y + (np.arange(rows, dtype=np.float64) + 0.5 - rows / 2) * pixel
    z = view.z + (np.arange(cols, dtype=np.float64) + 0.5 - cols * view.middle_at) * pixel
    return Grid(x, y, z, view.thickness, pixel)


def simulate(shape: tuple[int, int, int], seed: Seed, *, bodies_only: bool = False) -> Phantom:
    """Simulate one patient at `shape` (slices, rows, cols).

    A seed stands for one patient at every in-plane size. With `bodies_only` the mask leaves the
    posterior elements out, as in data sets that mark vertebral bodies alone; the image is the
    same. Raises ValueError for a shape that is not three positive integers.
    """
    if len(shape) != 3 or min(shape) < 1:
        raise ValueError(f"shape must be (slices, rows, cols), all at least 1, not {shape}")
    seeds = np.random.default_rng(seed).integers(2**63, size=3)
    who, what, how = (np.random.default_rng(each) for each in seeds)

    patient = draw_patient(who)
    spine = build_spine(patient)
    grid = place_grid(shape, fit_view(spine))
    scanner, signals, habitus = draw_scanner(how), draw_signals(what), draw_habitus(what)

    surroundings = paint_surroundings(grid, spine, signals, habitus, what)
    canvas = Canvas(grid, surroundings, scanner.blur)
    Painter(canvas, spine, signals, habitus, what, bodies_only).paint()
    image = acquire(canvas, spine, scanner, how)
    return Phantom(image, canvas.labels, (patient.view.thickness, grid.pixel, grid.pixel))
