"""Answers to the exercises of lesson 1."""

import numpy as np

from spineseg.course.exercises.lesson_01 import right_background, smallest_ratio

CASE, LEVEL = smallest_ratio()
ALL_VOXELS, MEAN_OF_CASES = right_background()


def overlap(one, other):
    return np.minimum(one / one.sum(), other / other.sum()).sum()


def by_difference(one, other):
    return 1 - np.abs(one / np.sum(one) - other / np.sum(other)).sum() / 2


RIGHT = {
    "1.1": [overlap, by_difference, lambda one, other: 100 * overlap(one, other)],
    "1.2": [(CASE, LEVEL), [LEVEL, CASE], f"{CASE}, {LEVEL}"],
    "1.3": [(ALL_VOXELS, 0), [100 * ALL_VOXELS, 0.0], np.array([MEAN_OF_CASES, 0])],
}
WRONG = {
    "1.1": [
        (lambda one, other: np.minimum(one, other).sum(), "Divide each by its own sum"),
        (lambda one, other: 1.0, "overlap 0"),
        (lambda one, other: overlap(one, other) ** 2, "the smaller height"),
        (
            lambda one, other: overlap(one, other) / (2 - overlap(one, other)),
            "the area of both together",
        ),
        (0.97, "Give the function itself"),
    ],
    "1.2": [
        (("Case1", "L3"), "two neighbours of the same case"),
        ((CASE, "L5"), "The case is right"),
        ("L4", "Give the case and the level"),
    ],
    "1.3": [
        ((1 - ALL_VOXELS, 0), "not background"),
        ((1 / 9, 0), "equally many voxels"),
        ((ALL_VOXELS, 0.11), "does not count"),
        ((0.5, 0), "wherever the truth is background"),
        (ALL_VOXELS, "Give two numbers"),
    ],
}
