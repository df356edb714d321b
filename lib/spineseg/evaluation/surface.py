"""Distances between the surfaces of two segmentations: HD95 and normalised surface Dice (NSD)."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from spineseg.labels import NUM_CLASSES

TOLERANCE = 3.0  # mm; the NSD counts surface within this distance of the other


def surface_scores(
    truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float]
) -> np.ndarray:
    """95 % Hausdorff distance (mm) and normalised surface Dice at TOLERANCE, for each class.

    Both arrays are class indices, uint8 (slices, rows, columns); `spacing` is in mm along these
    axes. Returns float (classes, 2): HD95, NSD. The background and classes that are absent from
    both arrays have no scores (NaN). A class that is absent from one array has no HD95 (NaN) and an
    NSD of 0. Raises ValueError for unequal shapes.

    Both scores follow Nikolov et al. 2021 (doi:10.2196/26151). Surface elements are weighted by
    area. Without that, the end slices would dominate: every voxel of theirs is surface, and slices
    are 13 times as thick as pixels. HD95 is the larger of the two directed 95th percentiles. A
    mask that meets the edge of the scan has its surface there.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape} and prediction is {predicted.shape}")
    scores = np.full((NUM_CLASSES, 2), np.nan)
    for index in range(1, NUM_CLASSES):
        masks = truth == index, predicted == index
        sides = sum(bool(mask.any()) for mask in masks)
        if sides == 2:
            scores[index] = _scores(*masks, spacing)
        elif sides == 1:
            scores[index, 1] = 0
    return scores


def _scores(truth: np.ndarray, predicted: np.ndarray, spacing: Sequence[float]) -> list[float]:
    """HD95 and NSD of two masks (slices, rows, columns), neither of them empty."""
    # Imported here because MONAI takes seconds to import.
    from monai.metrics.utils import get_mask_edges, get_surface_distance

    box = find_objects((truth | predicted).view(np.uint8))[0]
    *edges, truth_areas, predicted_areas = get_mask_edges(
        truth[box], predicted[box], spacing=spacing
    )
    surfaces = [
        (get_surface_distance(here, there, spacing=spacing), areas[here].astype(float))
        for here, there, areas in (
            (edges[0], edges[1], truth_areas),
            (edges[1], edges[0], predicted_areas),
        )
    ]
    hd95 = max(
        np.quantile(far, 0.95, weights=area, method="inverted_cdf") for far, area in surfaces
    )
    within = sum(area[far <= TOLERANCE].sum() for far, area in surfaces)
    return [hd95, within / sum(area.sum() for _, area in surfaces)]
