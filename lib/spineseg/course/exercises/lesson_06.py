"""Exercises of lesson 6: pairs of seeds, a test by sign flips, one seed."""

from functools import cache
from itertools import product
from typing import Any

import numpy as np

from spineseg.course.checks import Exercise, as_number
from spineseg.evaluation.result_files import SCORES
from spineseg.evaluation.summary import common_runs
from spineseg.experiment import Experiment
from spineseg.methods import PLAIN, PROPOSED, TABLE3_METHODS
from spineseg.paper.tables import case_means, compare

NEAR_POINTS = 0.06  # one decimal is right
NEAR_P = 0.03  # of a p from 10 000 flips, or from fewer
NEAR_RATIO = 0.011  # two decimals are right
ONE_SEED = 1


@cache
def leads_of_pairs() -> np.ndarray:
    """The lead of each seed of ASPP-UNet (rows) over each of U-Net-2D (columns), in points."""
    scores = SCORES.read(Experiment.of().results)
    cases = case_means(common_runs(scores.query("aggregation == 'volume'"), TABLE3_METHODS))
    means = cases.query("metric == 'DSC'").groupby(["model", "seed"])["value"].mean()
    one, other = (means.loc[name].to_numpy() for name in (PROPOSED, PLAIN))
    return one[:, None] - other


def _pairs(answer: Any) -> str:
    """The smallest and the largest lead."""
    given = np.ravel(np.asarray(answer, float))
    if given.shape != (2,):
        return "Give two numbers: the smallest and the largest lead."
    leads = leads_of_pairs()
    right = np.array([leads.min(), leads.max()])
    if np.allclose(given, right / 100, atol=NEAR_POINTS / 100):
        return "Give points: 100 times as much."
    hints = [
        (right, ""),
        (right[::-1], "Give the smallest first."),
        (-right[::-1], "The lead is that of ASPP-UNet: take U-Net-2D's mean from it."),
        (-right, "The lead is that of ASPP-UNet: take U-Net-2D's mean from it."),
        (
            np.array([np.diag(leads).min(), np.diag(leads).max()]),
            "You compared seed 0 with seed 0, and so on. Each seed of one meets each of the other.",
        ),
    ]
    for values, hint in hints:
        if np.allclose(given, values, atol=NEAR_POINTS):
            return hint
    return "Other numbers. Take the mean over the patients for each seed, then all differences."


def exact_p(differences: np.ndarray) -> float:
    """The two-sided p of all sign flips."""
    signs = np.array(list(product((-1, 1), repeat=len(differences))))
    means = np.abs((signs * differences).mean(axis=1))
    return float(np.mean(means >= abs(differences.mean()) - 1e-12))


def _sign_flips(answer: Any) -> str:
    if not callable(answer):
        return "Give the function itself, without calling it."
    examples = [
        np.array([1.5, -0.4, 0.8, 2.0, -1.1, 0.3, -0.2, 0.9, 0.6, -0.7]),
        -np.array([1.5, -0.4, 0.8, 2.0, -1.1, 0.3, -0.2, 0.9, 0.6, -0.7]),
        np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]),
        np.array([1.5, -0.4, 0.8, 2.0, -1.1, 0.3, -0.2, 0.9, 0.6, 12.0]),
    ]
    right = [exact_p(each) for each in examples]
    given = [float(answer(each.copy())) for each in examples]
    errors = np.abs(np.subtract(given, right))
    if errors.max() < NEAR_P:
        return ""
    if max(given) > 1:
        return "A p is a share: divide the number of flips by all of them."
    if np.abs(np.subtract(given, 1 - np.array(right))).max() < NEAR_P:
        return "That is the share of flips that are nearer to zero. Count those at least as far."
    if errors[:-1].max() < NEAR_P:
        return "One large difference decides your test, as in a t-test. Flip signs instead."
    if abs(given[0] - right[0] / 2) < NEAR_P:
        return "Flips as far on the other side count too: compare absolute values."
    return "Another p: flip the sign of each difference, not their order and not all at once."


def widths() -> tuple[float, float]:
    """Widths of the interval of the lead over U-Net-2D: with one seed, and with all."""
    scores = SCORES.read(Experiment.of().results)
    found = []
    for part in (scores[scores["seed"] == ONE_SEED], scores):
        leads = compare(part)
        lead = leads[(leads["metric"] == "DSC") & (leads["model"] == PLAIN)]
        found.append(float((lead["high"] - lead["low"]).iloc[0]))
    return found[0], found[1]


def _one_seed(answer: Any) -> str:
    given = as_number(answer)
    one, every = widths()
    hints = {
        one / every: "",
        every / one: "Divide the other way round: one seed by three.",
        one: "That is the width with one seed. Divide it by the width with three.",
        every: "That is the width with three seeds. Divide the width with one seed by it.",
    }
    for value, hint in hints.items():
        if abs(given - value) < NEAR_RATIO:
            return hint
    return "Another number. Take the row of U-Net-2D and the metric DSC of both comparisons."


EXERCISES = {
    "6.1": Exercise(
        _pairs,
        because="Each pair is one possible pair of trainings, and none is the true one. So the "
        "bootstrap draws the seeds of the two networks independently.",
    ),
    "6.2": Exercise(
        _sign_flips,
        because="Like Wilcoxon's, this test knows the patients and not the seeds.",
    ),
    "6.3": Exercise(
        _one_seed,
        because="With one seed, the interval is one over patients. It no longer knows how far "
        "another training would move the means, so a narrower one is not more certain.",
    ),
}
