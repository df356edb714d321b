"""8-bit gray values from intensities (Eq. 5 works on 0..255)."""

import numpy as np

PERCENTILES = (0.5, 99.5)


def gray_range(intensities: np.ndarray) -> tuple[float, float]:
    """The intensities that become gray 0 and 255: robust percentiles of the volume."""
    low, high = np.percentile(intensities, PERCENTILES)
    if low == high:  # hardly any voxel differs from the rest
        low, high = intensities.min(), intensities.max()
    return float(low), float(high)


def to_gray(intensities: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale `low`..`high` to 0..255, rounded and clipped, uint8."""
    gray = (intensities.astype(np.float32) - low) * (255 / (high - low))
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8)
