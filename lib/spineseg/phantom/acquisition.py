"""The scanner: coil sensitivity, saturation band, ghosts, Rician noise, integer storage."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from spineseg.phantom.canvas import Canvas
from spineseg.phantom.grid import Floats, VoxelGrid, resize
from spineseg.phantom.spine import Spine

SENSITIVITY_MATRIX = 48  # coarse, in float64, then resized: coil sensitivity varies slowly
SHADING_SIGMA = (1.5, 7, 7)  # slices, rows and columns of that matrix
TEXTURE_MATRIX = 160


@dataclass(frozen=True)
class Scanner:
    """One scan's settings. Lengths in mm; signals relative to cerebrospinal fluid."""

    blur: float  # width over which the point spread smears an edge
    matrix: int  # acquired pixels along the longer side; larger images are interpolated
    noise: float  # standard deviation in each of the two channels
    coil_reach: float  # distance from the back over which the signal falls off
    coil_power: float  # how steeply it falls
    coil_length: float  # sensitive half-length along the spine
    shading: float  # amplitude (of the logarithm) of the other slow variation
    texture: float  # fine multiplicative variation within tissue
    saturation: float  # signal left within the band in front of the spine
    saturation_gap: float  # distance of the band in front of L3's centre
    saturation_tilt: float  # mm that the band moves forwards per mm downwards
    ghost: float  # amplitude
    ghost_shift: float  # along the rows' axis
    gain: float  # stored units per unit of signal


def draw_scanner(rng: np.random.Generator) -> Scanner:
    """Draw one scan's settings; the order of the draws is part of the seed's meaning."""
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


def acquire(
    canvas: Canvas, spine: Spine, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.uint16]:
    """The magnitude image of the canvas, (slices, rows, columns) in stored units."""
    grid = canvas.grid
    slices, rows, cols = grid.shape
    field = sensitivity(grid, spine, scanner, rng)
    texture = rng.standard_normal((slices, TEXTURE_MATRIX, TEXTURE_MATRIX))
    noise = channel_noise(grid, scanner, rng)

    def at_full_size(plane: NDArray[np.float64]) -> Floats:
        return resize(plane[None], rows, cols)[0]

    image = np.empty(grid.shape, dtype=np.uint16)
    for k in range(slices):
        signal = canvas.signal[k] * at_full_size(field[k])
        signal *= 1 + np.float32(scanner.texture) * at_full_size(texture[k])
        if scanner.ghost:  # it wraps round, as in the phase-encoding direction
            shift = round(scanner.ghost_shift / grid.pixel)
            signal += np.float32(scanner.ghost) * np.roll(signal, shift, axis=0)
        real, imaginary = signal + at_full_size(noise[0, k]), at_full_size(noise[1, k])
        magnitude = np.sqrt(real * real + imaginary * imaginary)
        image[k] = magnitude * np.float32(scanner.gain) + np.float32(0.5)
    return image


def sensitivity(
    grid: VoxelGrid, spine: Spine, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Coil sensitivity times saturation, (slices, SENSITIVITY_MATRIX, SENSITIVITY_MATRIX)."""
    coarse = grid.resampled(SENSITIVITY_MATRIX, SENSITIVITY_MATRIX)
    y, z = coarse.y[None, :, None], coarse.z[None, None, :]
    behind = spine.along(55.0).at(np.zeros(1))[1][0]
    distance = np.maximum(behind - z, -30) / scanner.coil_reach
    reach = 1 / (1 + np.where(distance > 0, distance, 0.3 * distance) ** 2) ** scanner.coil_power
    length = 1 / (1 + (y / scanner.coil_length) ** 4)

    slow = slow_variation(len(grid.x), rng)
    edge = -scanner.saturation_gap + scanner.saturation_tilt * y - z
    passed = 1 / (1 + np.exp(np.clip(edge / 3, -30, 30)))
    saturation = scanner.saturation + (1 - scanner.saturation) * passed
    return reach * length * np.exp(scanner.shading * slow) * saturation


def slow_variation(slices: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Smooth noise of about unit variance, (slices, SENSITIVITY_MATRIX, SENSITIVITY_MATRIX)."""
    noise = rng.standard_normal((slices, SENSITIVITY_MATRIX, SENSITIVITY_MATRIX))
    slow = gaussian_filter(noise, SHADING_SIGMA, mode="nearest")
    slow *= np.sqrt(np.prod(2 * np.sqrt(np.pi) * np.array(SHADING_SIGMA)))
    return slow


def channel_noise(
    grid: VoxelGrid, scanner: Scanner, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Noise of the real and imaginary channel on the acquired matrix, (2, slices, height, width).

    An image with fewer pixels than acquired averages the noise of several pixels.
    """
    slices, rows, cols = grid.shape
    height, width = min(rows, scanner.matrix), min(cols, scanner.matrix)
    noise = rng.standard_normal((2, slices, height, width))
    acquired_pixel = grid.pixel * max(rows, cols) / scanner.matrix
    noise *= scanner.noise * min(1.0, acquired_pixel / grid.pixel)
    return noise
