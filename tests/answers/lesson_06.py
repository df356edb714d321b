"""Answers to the exercises of lesson 6: right ones, and wrong ones with a phrase of their hint."""

import numpy as np
from scipy.stats import ttest_1samp

from spineseg.course.exercises.lesson_06 import exact_p, leads_of_pairs, widths

LEADS = leads_of_pairs()
LEAST, MOST = LEADS.min(), LEADS.max()
SAME = np.diag(LEADS)
ONE, EVERY = widths()


def flips(differences, count=10_000):
    signs = np.random.default_rng(1).choice([-1, 1], (count, len(differences)))
    return (signs * differences).mean(axis=1)


def two_sided(differences):
    return np.mean(np.abs(flips(differences)) >= abs(np.mean(differences)) - 1e-12)


def by_loop(differences):
    generator, hits = np.random.default_rng(2), 0
    for _ in range(2000):
        total = sum(d if generator.random() < 0.5 else -d for d in differences)
        hits += abs(total) >= abs(sum(differences)) - 1e-12
    return hits / 2000


def one_sided(differences):
    return np.mean(flips(differences) >= np.mean(differences) - 1e-12)


def nearer(differences):
    return np.mean(np.abs(flips(differences)) < abs(np.mean(differences)) - 1e-12)


def a_count(differences):
    return 10_000 * two_sided(differences)


RIGHT = {
    "6.1": [(LEAST, MOST), [round(LEAST, 2), round(MOST, 2)], [round(LEAST, 1), round(MOST, 1)]],
    "6.2": [two_sided, by_loop, exact_p],
    "6.3": [ONE / EVERY, round(ONE / EVERY, 2)],
}
WRONG = {
    "6.1": [
        ((MOST, LEAST), "smallest first"),
        ((LEAST / 100, MOST / 100), "100 times"),
        ((-MOST, -LEAST), "that of ASPP-UNet"),
        ((-LEAST, -MOST), "that of ASPP-UNet"),
        ((SAME.min(), SAME.max()), "seed 0 with seed 0"),
        ((LEAST,), "two numbers"),
        ((7, 8), "all differences"),
    ],
    "6.2": [
        (one_sided, "absolute values"),
        (nearer, "nearer to zero"),
        (a_count, "A p is a share"),
        (lambda differences: ttest_1samp(differences, 0).pvalue, "as in a t-test"),
        (0.3, "the function itself"),
    ],
    "6.3": [
        (EVERY / ONE, "other way round"),
        (ONE, "Divide it by the width with three"),
        (99, "Another number"),
    ],
}
