"""Answers to the exercises of lesson 2."""

import numpy as np

from spineseg.course.exercises.lesson_02 import resampled


def cut_off(mask, first, last):
    labelled = np.count_nonzero(mask)
    return 1 - np.count_nonzero(mask[..., first:last]) / labelled if labelled else 0.0


def cut_off_per_cent(mask, first, last):
    columns = (mask > 0).sum(axis=(0, 1))
    outside = columns.sum() - columns[first:last].sum()
    return 100 * outside / max(1, columns.sum())


def by_swapping(values, size, axis):
    moved = np.swapaxes(values, axis, 0)
    return np.swapaxes(resampled(moved, size, 0), axis, 0)


def by_interp(values, size, axis):
    old = values.shape[axis]
    positions = (np.arange(size) + 0.5) * old / size - 0.5
    grid = np.arange(old)
    return np.apply_along_axis(lambda line: np.interp(positions, grid, line), axis, values)


def by_ends(values, size, axis):
    old = values.shape[axis]
    return np.apply_along_axis(
        lambda line: np.interp(np.linspace(0, old - 1, size), np.arange(old), line), axis, values
    )


def nearest(values, size, axis):
    old = values.shape[axis]
    return values.take(np.linspace(0, old - 1, size).round().astype(int), axis)


RIGHT = {
    "2.1": [cut_off, cut_off_per_cent],
    "2.2": [resampled, by_swapping, by_interp],
    "2.3": ["acd", "a, c and d", ["d", "a", "C"]],
}
WRONG = {
    "2.1": [
        (lambda mask, first, last: 1 - cut_off(mask, first, last), "Subtract it from 1"),
        (
            lambda mask, first, last: cut_off(mask, first, last) * np.count_nonzero(mask),
            "a number of voxels",
        ),
        (
            lambda mask, first, last: np.count_nonzero(mask[..., last:]) / np.count_nonzero(mask),
            "left edge",
        ),
        (lambda mask, first, last: cut_off(mask, first, last + 1), "one past the last"),
        (
            lambda mask, first, last: 1 - mask[..., first:last].sum() / mask.sum(),
            "added class numbers",
        ),
        (lambda mask, first, last: (mask[..., first:last] == 0).mean(), "Count the labelled"),
        (0.1, "Give the function itself"),
    ],
    "2.2": [
        (by_ends, "the boxes fill the same length"),
        (nearest, "Interpolate linearly"),
        (lambda values, size, axis: resampled(values, size, 0), "the shape is"),
        (0.9, "Give the function itself"),
    ],
    "2.3": [
        ("abcd", "Step b needs no mask"),
        ("a, e", "Step e uses only"),
        ("ac", "new to the network"),
        ("ad", "A choice is a kind of training"),
    ],
}
