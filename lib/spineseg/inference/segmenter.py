"""A finished run that labels scans: onto the target grid, through the network, back to the scan."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from spineseg.data.cache import Grid
from spineseg.inference.cleanup import clean_levels
from spineseg.runs import RunRecord

if TYPE_CHECKING:
    import SimpleITK as sitk


class Segmenter(ABC):
    """A finished run, ready to label scans."""

    record: RunRecord
    clean: bool = False  # whether levels that cannot be are repaired; scores are without

    @property
    def grid(self) -> Grid:
        """The grid that the network was trained on."""
        return self.record.grid

    def __call__(self, scan: sitk.Image) -> np.ndarray:
        """The class of each voxel of a canonical scan: uint8 (slices, rows, columns)."""
        probabilities = self.probabilities(network_input(scan, self.grid))
        classes = to_scan_grid(probabilities, self.grid, scan)
        return clean_levels(classes, scan.GetSpacing()[::-1]) if self.clean else classes

    @abstractmethod
    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        """Class probabilities of a volume's slices, uint8 (N, H, W): float32 (N, H, W, classes)."""


def network_input(scan: sitk.Image, grid: Grid) -> np.ndarray:
    """What a network sees of a canonical scan: uint8 (slices, rows, kept columns)."""
    from spineseg.data.preprocess import image_to_grid, target_of

    gray = image_to_grid(scan, target_of(scan, grid.all_columns))
    return np.ascontiguousarray(gray[..., grid.window])


def to_full_width(cropped: np.ndarray, grid: Grid) -> np.ndarray:
    """The most probable class at each pixel of the target grid: uint8 (slices, size, size).

    `cropped` has the probabilities (slices, rows, kept columns, classes). Outside the kept columns
    there is background.
    """
    classes = np.zeros((grid.slices, grid.size, grid.size), np.uint8)
    classes[..., grid.window] = cropped.argmax(-1)
    return classes


def to_scan_grid(cropped: np.ndarray, grid: Grid, scan: sitk.Image) -> np.ndarray:
    """The most probable class of each voxel of a canonical scan, uint8 (slices, rows, columns).

    `cropped` has the probabilities (slices, rows, kept columns, classes) on `grid`. Probabilities
    are interpolated, not labels, so that edges between pixels keep their position. Outside the kept
    columns, and in padding, there is background.
    """
    from spineseg.data.padding import image_part
    from spineseg.data.preprocess import target_of
    from spineseg.data.volume import geometry_mismatch
    from spineseg.inference.interpolate import interpolated_classes

    whole = target_of(scan, grid.all_columns)
    if not geometry_mismatch(whole, scan):
        classes = np.zeros(whole.GetSize()[::-1], np.uint8)
        classes[..., grid.window] = cropped.argmax(-1)
    else:
        classes = interpolated_classes(cropped, whole[grid.window, :, :], scan)
    if part := image_part(scan):
        part.clear_outside(classes)
    return classes
