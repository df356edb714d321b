"""Exercises of lesson 2: the window, resampling, and what may not see held-out masks."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np

from spineseg.course.checks import FUNCTION, Exercise

LEAKS = {"a", "c", "d"}  # of the five steps of exercise 2.3
Function = Callable[..., Any]


def judge_cut_off(answer: Function) -> str:
    """Call the function with masks whose share outside a window is known."""
    if not callable(answer):
        return FUNCTION.format("2_1", "cut_off")
    mask = np.zeros((2, 4, 10), np.uint8)
    mask[0, 1, 3:6], mask[1, 1, 3:6] = 4, 3  # six labelled voxels inside columns 3 to 5,
    mask[0, :2, 1], mask[0, 0, 6], mask[1, 2:, 8] = 1, 2, 7  # and five outside
    share, inside, labelled = float(answer(mask, 3, 6)), 6, 11
    outside = labelled - inside
    numbers = mask.sum()  # the sum of the class numbers
    for wrong, hint in (
        (inside / labelled, "This is the share inside the window. Subtract it from 1."),
        (outside, "This is a number of voxels. Divide it by the number of all labelled voxels."),
        (outside / mask.size, "Divide by the number of labelled voxels, not by that of all."),
        (3 / labelled, "The window has a left edge, too."),
        (2 / labelled, "The window has a right edge, too."),
        (4 / labelled, "`last` is one past the last column of the window, as in slices of Python."),
        (
            1 - mask[..., 3:6].sum() / numbers,
            "You have added class numbers. Count voxels with a label: `mask > 0`.",
        ),
    ):
        if np.isclose(share, wrong):
            return hint
    if not np.isclose(share, [outside / labelled, 100 * outside / labelled]).any():
        return "Count the labelled voxels in columns first to last - 1, and divide by all of them."
    empty = float(answer(np.zeros_like(mask), 3, 6))
    return "" if empty == 0 else "A mask without labels loses nothing. Return 0 for it."


def resampled(values: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation along one axis; voxels are boxes that fill the same length."""
    moved = np.moveaxis(np.asarray(values, float), axis, 0)
    old = len(moved)
    positions = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, old - 1)
    weight = (positions - low).reshape(-1, *[1] * (moved.ndim - 1))
    return np.moveaxis((1 - weight) * moved[low] + weight * moved[high], 0, axis)


def judge_resample(answer: Function) -> str:
    """Call the function along each axis of random arrays."""
    if not callable(answer):
        return FUNCTION.format("2_2", "resample")
    rng = np.random.default_rng(0)
    values = rng.random((5, 6, 7, 2))
    for axis, size in ((0, 4), (1, 9), (2, 3), (2, 7)):
        found, right = np.asarray(answer(values, size, axis)), resampled(values, size, axis)
        if found.shape != right.shape:
            return f"Along axis {axis}, the shape is {found.shape} and should be {right.shape}."
        if np.allclose(found, right, atol=1e-5):
            continue
        old = values.shape[axis]
        if np.allclose(found, values.take(np.linspace(0, old - 1, size).round().astype(int), axis)):
            return "This takes the nearest voxel. Interpolate linearly between two."
        ends = np.linspace(0, old - 1, size)
        if np.allclose(found, _interpolated(values, ends, axis), atol=1e-5):
            return (
                "The first and last voxels are not aligned by their centres: the boxes fill the "
                "same length. Use (i + 0.5) * old / new - 0.5."
            )
        if np.allclose(found, _interpolated(values, np.arange(size) * old / size, axis), atol=1e-5):
            return (
                "The centre of a voxel is half a voxel from its edge. Add 0.5, scale, subtract it."
            )
        return f"Along axis {axis} the values are wrong. Along axis 0, `resample_slices` is right."
    return ""


def _interpolated(values: np.ndarray, positions: np.ndarray, axis: int) -> np.ndarray:
    grid = np.arange(values.shape[axis])
    return np.apply_along_axis(lambda line: np.interp(positions, grid, line), axis, values)


def judge_leaks(answer: Any) -> str:
    """Letters in any form: "acd", "a, c, d", ["a", "c", "d"]."""
    text = answer if isinstance(answer, str) else " ".join(str(each) for each in answer)
    given = set(re.sub(r"\band\b", " ", text.casefold())) & set("abcdefghijklmnopqrstuvwxyz")
    if unknown := given - set("abcde"):
        return f"There is no step {min(unknown)}."
    if "b" in given:
        return "Step b needs no mask. It can be done for a new patient as well."
    if "e" in given:
        return "Step e uses only the scan's own grid, which is known for a new patient as well."
    if given == LEAKS:
        return ""
    if "d" not in given:
        return "There is another one. Ask whether a test patient is really new to the network."
    if "c" not in given:
        return "There is another one. A choice is a kind of training, too."
    return "There is another one. Which step uses masks that a new patient would not have?"


EXERCISES = {
    "2.1": Exercise(
        judge_cut_off,
        "Without a margin, a held-out patient who lies a little differently can lose labels.",
    ),
    "2.2": Exercise(
        judge_resample,
        "A finer grid and back loses little. A coarser grid loses what it cannot show.",
    ),
    "2.3": Exercise(
        judge_leaks,
        "In each of them, masks or images of test patients shape what is tested on them.",
    ),
}
