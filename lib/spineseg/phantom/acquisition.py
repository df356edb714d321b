"""The scanner: coil sensitivity, saturation band, ghosts, Rician noise, integer storage."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from spineseg.phantom.anatomy import Spine
from spineseg.phantom.shapes import Canvas, Floats, Grid, resize

FIELD_MATRIX = 48  # coil sensitivity is smooth: evaluated coarsely in float64, then resized
SHADING_SIGMA = (1.5, 7, 7)  # slices, and cells of that matrix


@dataclass(frozen=True)
class Scanner:
    """One scan's settings. Lengths in mm, signals relative to cerebrospinal fluid."""

    blur: float  # width over which the point spread smears an edge
    matrix: int  # acquired; finer images are interpolated from it
    noise: float  # standard deviation in each channel
    coil_reach: float  # distance from the back over which the signal falls off
    coil_power: float  # how steeply it falls
    coil_length: float  # sensitive half-length along the spine
    shading: float  # log amplitude of the remaining slow variation
    texture: float  # fine multiplicative variation within tissue
    saturation: float  # signal left within the band in front of the spine
    saturation_gap: float  # from L3's centre forwards
    saturation_tilt: float  # mm forwards a mm downwards
    ghost: float  # amplitude
    ghost_shift: float
    gain: float  # stored units


def draw_scanner(rng: np.random.Generator) -> Scanner:
    return Scanner(
        blur=rng.uniform(0.5, 1.6),
        matrix=int(rng.integers(288, 449)),
        noise=float(np.exp(rng.normal(np.log(0.018), 0.5))),
        coil_reach=rng.uniform(60, 220),
        coil_power=rng.uniform(0.2, 1.7),
        coil_length=rng.uniform(130, 260),
        shading=rng.uniform(0.02, 0.15),
        texture=rng.uniform(0.02, 0.12),
        saturation=rng.uniform(0.05, 0.5) if rng.random() < 0.55 else 1.0,
        saturation_gap=rng.uniform(24, 50),
        saturation_tilt=rng.normal(0, 0.12),
        ghost=rng.uniform(0, 0.04) if rng.random() < 0.5 else 0.0,
        ghost_shift=rng.uniform(15, 90),
        gain=float(np.exp(rng.uniform(np.log(250), np.log(1600)))),
    )


def sensitivity(
    grid: Grid, spine: Spine, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Coil sensitivity times saturation on (slices, FIELD_MATRIX, FIELD_MATRIX)."""
    coarse = grid.resampled(FIELD_MATRIX, FIELD_MATRIX)
    y, z = coarse.y[None, :, None], coarse.z[None, None, :]
    behind = spine.along(55.0).at(np.zeros(1))[1][0]
    distance = np.maximum(behind - z, -30) / scanner.coil_reach
    reach = 1 / (1 + np.where(distance > 0, distance, 0.3 * distance) ** 2) ** scanner.coil_power
    length = 1 / (1 + (y / scanner.coil_length) ** 4)

    noise = rng.standard_normal((len(grid.x), FIELD_MATRIX, FIELD_MATRIX))
    slow = gaussian_filter(noise, SHADING_SIGMA, mode="nearest")
    slow *= np.sqrt(np.prod(2 * np.sqrt(np.pi) * np.array(SHADING_SIGMA)))  # to unit variance
    edge = -scanner.saturation_gap + scanner.saturation_tilt * y - z
    passed = 1 / (1 + np.exp(np.clip(edge / 3, -30, 30)))
    saturation = scanner.saturation + (1 - scanner.saturation) * passed
    return reach * length * np.exp(scanner.shading * slow) * saturation


def acquire(
    canvas: Canvas, spine: Spine, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """The magnitude image of the canvas, (slices, rows, cols)."""
    grid = canvas.grid
    slices, rows, cols = grid.shape
    field = sensitivity(grid, spine, scanner, rng)
    texture = rng.standard_normal((slices, 160, 160))
    height, width = min(rows, scanner.matrix), min(cols, scanner.matrix)
    noise = rng.standard_normal((2, slices, height, width))

    acquired_pixel = grid.pixel * max(rows, cols) / scanner.matrix
    noise *= scanner.noise * min(1.0, acquired_pixel / grid.pixel)

    def at_full_size(plane: NDArray[np.float64]) -> Floats:
        return resize(plane[None], rows, cols)[0]

    image = np.empty(grid.shape, dtype=np.uint16)
    for k in range(slices):
        signal = canvas.signal[k] * at_full_size(field[k])
        signal *= 1 + np.float32(scanner.texture) * at_full_size(texture[k])
        if scanner.ghost:  # wraps round, as in the phase-encoding direction
            shift = round(scanner.ghost_shift / grid.pixel)
            signal += np.float32(scanner.ghost) * np.roll(signal, shift, axis=0)
        real, imaginary = signal + at_full_size(noise[0, k]), at_full_size(noise[1, k])
        magnitude = np.sqrt(real * real + imaginary * imaginary)
        image[k] = magnitude * np.float32(scanner.gain) + np.float32(0.5)
    return image
