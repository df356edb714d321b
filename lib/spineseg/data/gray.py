"""8-bit gray values from intensities (Eq. 5 works on 0..255)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from spineseg.data.padding import ImagePart

PERCENTILES = (0.5, 99.5)
BINS = 2**16


def gray_range(intensities: np.ndarray, part: ImagePart | None = None) -> tuple[float, float]:
    """The intensities that become gray 0 and 255: robust percentiles of the volume.

    With `part`, padding does not count. The volume is read slice by slice and not copied.
    """
    slices = _Slices(intensities, part)
    low, high = percentiles(slices, PERCENTILES)
    if low == high:  # hardly any voxel differs from the rest
        low, high = _ends(slices)
    return float(low), float(high)


class _Slices(Iterable[np.ndarray]):
    """The voxels of one slice after the other, without padding."""

    def __init__(self, intensities: np.ndarray, part: ImagePart | None):
        self.intensities, self.part = intensities, part

    def __iter__(self) -> Iterator[np.ndarray]:
        for index, plane in enumerate(self.intensities):
            chosen = plane if self.part is None else plane[self.part.in_slice(index)]
            if chosen.size:
                yield chosen


def percentiles(slices: Iterable[np.ndarray], percents: Sequence[float]) -> list[float]:
    """The same as `np.percentile` of all voxels of `slices`, which are iterated over again."""
    low, high = _ends(slices)
    if low == high:
        return [low] * len(percents)
    last = sum(values.size for values in slices) - 1
    positions = [last * (percent / 100) for percent in percents]
    ranks = [rank for each in positions for rank in (int(each), min(int(each) + 1, last))]
    found = _ranked(slices, ranks, low, high)
    pairs = zip(found[::2], found[1::2], positions, strict=True)
    return [_between(below, above, position % 1) for below, above, position in pairs]


def _ends(slices: Iterable[np.ndarray]) -> tuple[float, float]:
    ends = [(values.min(), values.max()) for values in slices]
    return float(min(low for low, _ in ends)), float(max(high for _, high in ends))


def _ranked(
    slices: Iterable[np.ndarray], ranks: Sequence[int], low: float, high: float
) -> list[float]:
    """The values of these ranks, counted from 0; `low` and `high` are the smallest and largest.

    A histogram tells the narrow range of values that holds each rank. Only those are sorted.
    """
    scale = min(1, (BINS - 1) / (high - low)) if _are_whole(slices) else (BINS - 1) / (high - low)

    def bins_of(values: np.ndarray) -> np.ndarray:
        if scale == 1:
            return values.astype(np.intp) - int(low)
        return ((values.astype(np.float64) - low) * scale).astype(np.intp)

    reached = np.zeros(BINS, np.int64)
    for values in slices:
        reached += np.bincount(bins_of(values).ravel(), minlength=BINS)
    reached = reached.cumsum()
    bins = np.searchsorted(reached, ranks, side="right")
    if scale == 1:
        return [low + int(each) for each in bins]
    parts: dict[int, list[np.ndarray]] = {each: [] for each in bins.tolist()}
    for values in slices:
        binned = bins_of(values)
        for each, found in parts.items():
            found.append(values[binned == each])
    members = {each: np.sort(np.concatenate(found)) for each, found in parts.items()}
    before = [reached[each - 1] if each else 0 for each in bins]
    return [
        float(members[each][rank - skipped])
        for each, rank, skipped in zip(bins.tolist(), ranks, before, strict=True)
    ]


def _are_whole(slices: Iterable[np.ndarray]) -> bool:
    return next(iter(slices)).dtype.kind in "iu"


def _between(below: float, above: float, share: float) -> float:
    """Linear interpolation, rounded as NumPy rounds it."""
    rise = above - below
    return below + rise * share if share < 0.5 else above - rise * (1 - share)


def to_gray(intensities: np.ndarray, low: float, high: float) -> np.ndarray:
    """Scale `low`..`high` to 0..255, rounded and clipped, uint8."""
    gray = (intensities.astype(np.float32) - low) * (255 / (high - low))
    return np.clip(np.rint(gray), 0, 255).astype(np.uint8)
