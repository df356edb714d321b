"""DSC and IoU from voxel counts (Eq. 2 and 3)."""

from typing import TypeVar

import numpy as np
import pandas as pd

from spineseg.labels import NUM_CLASSES

Number = TypeVar("Number", float, pd.Series)


def confusion(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Count the voxels of each pair of classes in each slice.

    Both arrays are class indices, (slices, ...). Returns int64 (slices, classes in the truth,
    classes in the prediction). The counts of a volume are the sum over its slices. Raises
    ValueError for unequal shapes.
    """
    if truth.shape != predicted.shape:
        raise ValueError(f"truth is {truth.shape} and prediction is {predicted.shape}")
    slices = len(truth)
    pairs = truth.reshape(slices, -1).astype(np.int64) * NUM_CLASSES + predicted.reshape(slices, -1)
    pairs += np.arange(slices)[:, None] * NUM_CLASSES**2
    counts = np.bincount(pairs.ravel(), minlength=slices * NUM_CLASSES**2)
    return counts.reshape(slices, NUM_CLASSES, NUM_CLASSES)


def overlaps(confused: np.ndarray) -> np.ndarray:
    """Voxels of each class in the truth, in the prediction, and in both: (..., classes, 3).

    `confused` is that of `confusion`, (..., classes, classes).
    """
    both = np.diagonal(confused, axis1=-2, axis2=-1)
    return np.stack([confused.sum(-1), confused.sum(-2), both], axis=-1)


def dsc(counts: np.ndarray) -> np.ndarray:
    """Dice coefficient (Eq. 2), (...), from counts (..., 3); NaN if both masks are empty."""
    truth, predicted, both = np.moveaxis(counts, -1, 0)
    return _ratio(2 * both, truth + predicted)


def iou(counts: np.ndarray) -> np.ndarray:
    """Intersection over union (Eq. 3), (...), from counts (..., 3); NaN if both are empty."""
    truth, predicted, both = np.moveaxis(counts, -1, 0)
    return _ratio(both, truth + predicted - both)


def iou_of(dsc: Number) -> Number:
    """IoU of one pair of masks from its DSC, both in per cent.

    From Eq. 2 and 3, IoU = DSC / (2 - DSC) as fractions. This is a convex function. So over the
    same pairs, the mean IoU is at least `iou_of` of the mean DSC (Jensen's inequality).
    """
    return 100 * dsc / (200 - dsc)


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
