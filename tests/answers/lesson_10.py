"""Answers to the exercises of lesson 10."""

import numpy as np

from spineseg.course.exercises.lesson_10 import broken_bounds, milliseconds
from spineseg.paper.consistency import K80_TFLOPS

BOTH, SLICES = broken_bounds()["volume", "volume"], broken_bounds()["volume", "slice"]
SMALL = np.eye(3, dtype=bool)
LARGE = np.arange(100) < 50

RIGHT = {
    "10.1": [
        [(10, 10, 10), (1000, 1000, 0)],
        np.array([[500, 400, 100], [20, 18, 17]]),
        [(SMALL, SMALL), (LARGE, ~LARGE)],
    ],
    "10.2": [(BOTH, SLICES), np.array([BOTH, SLICES])],
    "10.3": [milliseconds(), 50.6, 50.5],
}
WRONG = {
    "10.1": [
        ([(10, 10, 0), (1000, 1000, 1000)], "make the large one the bad one"),
        ([(10, 10, 5), (10, 10, 5)], "Both sides are equal"),
        ([(10, 10, 20), (1000, 1000, 0)], "No masks have these numbers"),
        ([(0, 0, 0), (10, 10, 5)], "not defined"),
        ([(0.9, 0.8), (0.3, 0.2)], "three numbers per pair"),
        ([(10, 10, 10)], "Give 2 pairs"),
    ],
    "10.2": [
        ((SLICES, BOTH), "in the other order"),
        ((BOTH + 3, SLICES), "Jensen's inequality holds"),
        ((BOTH, broken_bounds()["slice", "volume"]), "the IoU from the slices"),
        ((BOTH, SLICES - 1), "The first is right"),
        ([BOTH], "Give two numbers"),
    ],
    "10.3": [
        (milliseconds() / 1000, "in seconds"),
        (milliseconds(K80_TFLOPS["base"]), "base clock"),
        (2 * milliseconds(), "two operations"),
        (milliseconds() / 2, "Take one chip"),
        (milliseconds() / 4, "fast algorithms"),
        (9, "turn seconds into milliseconds"),
    ],
}
