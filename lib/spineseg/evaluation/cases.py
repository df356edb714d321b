"""The cases that a run is scored on: what the network sees, and the truth on the scan's grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from spineseg.data.cache import Cache, Grid
from spineseg.data.overview import slice_to_draw
from spineseg.inference.cleanup import clean_levels
from spineseg.inference.segmenter import network_input, to_full_width, to_scan_grid
from spineseg.runs import RunRecord

if TYPE_CHECKING:
    from spineseg.data.layouts import Case


class OnGrid(NamedTuple):
    """A case on the target grid."""

    mask: np.ndarray  # uint8 classes (slices, rows, kept columns)
    spacing: tuple[float, ...]  # mm between slices, rows, columns


@dataclass(frozen=True)
class ScoredCase:
    """One case. Arrays are (slices, rows, columns)."""

    id: str
    gray: np.ndarray  # uint8, the kept columns on the target grid: what the network sees
    image: np.ndarray  # the scan's own intensities
    truth: np.ndarray  # uint8, classes on the scan's own grid
    spacing: tuple[float, ...]  # mm between slices, rows, columns of the scan
    to_scan_grid: Callable[[np.ndarray], np.ndarray]  # probabilities to classes of the scan
    has_surfaces: bool  # whether surface distances are scored
    on_grid: OnGrid | None  # None for a case that is not in the run's cache

    def drawn(self, predicted: np.ndarray) -> dict[str, np.ndarray]:
        """One slice to draw, see `slice_to_draw`."""
        return slice_to_draw(self.image, self.truth, self.spacing, predicted=predicted)


def with_repaired_levels(case: ScoredCase) -> ScoredCase:
    """The same case, with levels that cannot be repaired in what is predicted for it."""

    def back(probabilities: np.ndarray) -> np.ndarray:
        return clean_levels(case.to_scan_grid(probabilities), case.spacing)

    return replace(case, to_scan_grid=back)


def scan_cases(
    cases: Sequence[Case], grid: Grid, cache: Cache | None = None
) -> Iterator[ScoredCase]:
    """Read scans with masks one by one.

    What the network sees comes from the cache, or for scans of another data set from the scan.
    Raises UserError for a scan that cannot be used.
    """
    import SimpleITK as sitk

    from spineseg.data.layouts import read_labelled

    for case in cases:
        scan, truth = read_labelled(case)
        yield ScoredCase(
            case.id,
            network_input(scan, grid) if cache is None else _gray(cache, case.id, grid),
            sitk.GetArrayViewFromImage(scan),
            truth,
            scan.GetSpacing()[::-1],
            partial(to_scan_grid, grid=grid, scan=scan),
            has_surfaces=True,
            on_grid=None if cache is None else _on_grid(cache, case.id, grid),
        )


def simulated_cases(cache: Cache, record: RunRecord) -> Iterator[ScoredCase]:
    """The test cases of a run on patients simulated on the target grid, which is their own grid.

    Surface distances are not scored, so that neither SimpleITK nor MONAI is needed.
    """
    for case in record.test:
        (row,) = cache.rows([case])
        yield ScoredCase(
            case,
            _gray(cache, case, record.grid),
            cache.images[row],
            cache.masks[row],
            cache.spacing(case),
            partial(to_full_width, grid=record.grid),
            has_surfaces=False,
            on_grid=_on_grid(cache, case, record.grid),
        )


def _gray(cache: Cache, case: str, grid: Grid) -> np.ndarray:
    (row,) = cache.rows([case])
    return np.ascontiguousarray(cache.images[row][..., grid.window])


def _on_grid(cache: Cache, case: str, grid: Grid) -> OnGrid:
    (row,) = cache.rows([case])
    return OnGrid(cache.masks[row][..., grid.window], cache.spacing(case))
