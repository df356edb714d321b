"""Answers to the exercises of lesson 11."""

import numpy as np

from spineseg.course.exercises.lesson_11 import (
    interval_of_lead,
    interval_over_patients,
    scores_of_level,
)
from spineseg.evaluation.statistics import interval_of_difference
from spineseg.paper.verdicts import ALL_VERDICTS, verdict

LOW, HIGH = interval_of_lead()
RIGHT_WORD = verdict(LOW, HIGH)
OTHER_WORD = next(each for each in ALL_VERDICTS if each != RIGHT_WORD)


def equal(low, high, margin):
    if max(abs(low), abs(high)) <= margin:
        return "reproduced"
    return "not reproduced" if min(abs(low), abs(high)) > margin and low * high > 0 else CHANCE


CHANCE = "cannot be told from chance"


def by_overlap(low, high, margin):
    shared = min(high, margin) - max(low, -margin)
    if shared < 0:
        return "not reproduced"
    return "reproduced" if np.isclose(shared, high - low) else CHANCE


def ignores_the_other_side(low, high, margin):
    return "reproduced" if high < margin else "not reproduced" if low > margin else CHANCE


def by_hand():
    """A bootstrap of patients and seeds that is not stretched for small samples."""
    generator = np.random.default_rng(0)
    one, other = scores_of_level()

    def resampled_mean(values, patients):
        return np.nanmean(values[generator.integers(len(values), size=len(values))][:, patients])

    leads = []
    for _ in range(2000):
        patients = generator.integers(one.shape[1], size=one.shape[1])
        leads.append(resampled_mean(one, patients) - resampled_mean(other, patients))
    return np.quantile(leads, (0.025, 0.975))


RIGHT = {
    "11.1": [(LOW, HIGH, RIGHT_WORD), [round(LOW, 1), round(HIGH, 1), f" {RIGHT_WORD.upper()} "]],
    "11.2": [equal, by_overlap],
    "11.3": [(136, "yes"), [136.0, True], (136, "Yes")],
}
WRONG = {
    "11.1": [
        ((LOW / 100, HIGH / 100, RIGHT_WORD), "These are shares"),
        ((-HIGH, -LOW, RIGHT_WORD), "Turn it around"),
        ((HIGH, LOW, RIGHT_WORD), "the lower end first"),
        ((LOW, HIGH, OTHER_WORD), "The interval is right"),
        ((LOW, HIGH, "true"), "Choose one of the verdicts"),
        ((LOW + 50, HIGH + 50, RIGHT_WORD), "Another interval"),
        ((*interval_over_patients(), RIGHT_WORD), "over patients alone"),
        ((*interval_of_difference(*scores_of_level("L2")), RIGHT_WORD), "class T11 only"),
        ((*by_hand(), RIGHT_WORD), "Use `interval_of_difference`"),
        (RIGHT_WORD, "Give three things"),
    ],
    "11.2": [
        (
            lambda low, high, margin: "reproduced" if low <= 0 <= high else CHANCE,
            "above zero can be",
        ),
        (lambda low, high, margin: equal(low, high, 1), "it is not always 1"),
        (ignores_the_other_side, "A margin has two sides"),
        (0.5, "Give the function itself"),
    ],
    "11.3": [
        ((68, "yes"), "by the root of two only"),
        ((102, "yes"), "Count the first 34"),
        ((48, "yes"), "not with its square"),
        ((17, "no"), "make an interval wider"),
        ((136, "no"), "The number is right"),
        ((200, "yes"), "with the root of the number"),
        (136, "Give two things"),
    ],
}
