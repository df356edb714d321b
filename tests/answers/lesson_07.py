"""Answers to the exercises of lesson 7."""

import numpy as np
from scipy import ndimage

from spineseg.course.exercises.lesson_07 import can_fall_faster, half_level


def by_interp(k, dsc):
    k, dsc = np.array(k, float), np.array(dsc, float)
    below = np.flatnonzero(dsc <= dsc[0] / 2)
    if not len(below):
        return None
    i = below[0]
    return np.interp(dsc[0] / 2, [dsc[i], dsc[i - 1]], [k[i], k[i - 1]])


def by_fine_grid(k, dsc):
    grid = np.linspace(0, 90, 90_001)
    below = np.flatnonzero(np.interp(grid, k, dsc) <= dsc[0] / 2)
    return grid[below[0]] if len(below) else np.nan


def first_below(k, dsc):
    return next((k[i] for i, value in enumerate(dsc) if value <= dsc[0] / 2), np.nan)


def gaussian(gray):
    return ndimage.gaussian_filter(gray, 1)


def box(gray):
    return ndimage.uniform_filter(gray, 3)


RIGHT = {
    "7.1": [half_level, by_interp, by_fine_grid],
    "7.2": [gaussian, box, lambda gray: gaussian(gray).astype(int).tolist()],
    "7.3": [
        can_fall_faster,
        lambda clean, at_30: np.bool_(5 * at_30 > 2 * clean),
        lambda clean, at_30: 1.5 * at_30 > clean - at_30,
    ],
}
WRONG = {
    "7.1": [
        (lambda k, dsc: half_level(k, [100, *dsc[1:]]), "where the DSC is 50 %"),
        (first_below, "first level below half"),
        (lambda k, dsc: k[list(k).index(first_below(k, dsc)) - 1], "last level above half"),
        (lambda k, dsc: half_level(k, dsc) if dsc[-1] < 50 else k[-1], "Return nan"),
        (41.0, "Give the function itself"),
    ],
    "7.2": [
        (lambda gray: gray, "as noisy as before"),
        (lambda gray: gray[1:], "the shape"),
        (lambda gray: ndimage.gaussian_filter(gray, 5), "a weaker filter"),
        (lambda gray: ndimage.gaussian_filter(gray, 0.25), "a stronger filter"),
        (0.5, "Give the function itself"),
    ],
    "7.3": [
        (lambda clean, at_30: True, "depends on the two numbers"),
        (lambda clean, at_30: at_30 > clean - at_30, "per unit of k"),
        (lambda clean, at_30: not can_fall_faster(clean, at_30), "the opposite"),
        (True, "Give the function itself"),
    ],
}
