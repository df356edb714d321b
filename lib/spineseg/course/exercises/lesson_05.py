"""Exercises of lesson 5: taps, rows that separate number from position, seeds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from spineseg.course.checks import Exercise, as_number
from spineseg.evaluation.result_files import SCORES
from spineseg.evaluation.summary import common_runs
from spineseg.experiment import Experiment
from spineseg.methods import ABLATION_METHODS
from spineseg.paper import printed
from spineseg.paper.tables import METHOD_OF_POSITIONS, case_means

MAP, PAPER_MAP = (28, 14), (110, 58)  # at position 4, of 220 x 112 and of 880 x 464 pixels
LEAST_TAPS = 3
NEAR = 0.006  # points of DSC: an answer of two decimals is right


def mean_taps(rows: int, columns: int, rate: int) -> float:
    """How many of the nine taps of a 3x3 kernel meet a map, on average over its pixels."""
    along = [1 + 2 * max(0, length - rate) / length for length in (rows, columns)]
    return along[0] * along[1]


def largest_rate(rows: int, columns: int) -> int:
    rates = range(1, max(rows, columns))
    return max(rate for rate in rates if mean_taps(rows, columns, rate) >= LEAST_TAPS)


def _rate(answer: Any) -> str:
    given, right = as_number(answer), largest_rate(*MAP)
    hints: dict[float, str] = {
        right: "",
        right + 1: f"With rate {right + 1} it is {mean_taps(*MAP, right + 1):.2f}: just too few.",
        6: "Not only the paper's rates are allowed. Try those between 6 and 12.",
        largest_rate(MAP[0], MAP[0]): "The map is not square. It has 14 columns.",
        largest_rate(*PAPER_MAP): "That is right for the paper's map of 110 x 58.",
    }
    if given in hints:
        return hints[given]
    if given < right:
        return "Larger rates still have three taps on the map."
    return "Too large: count again with `mean_taps(28, 14, rate)`."


def rows_as_names(answer: Any) -> set[str]:
    """Rows of Table 2 as it prints them, from names such as "ASPP 3+4" or (3, 4)."""
    if isinstance(answer, str):
        answer = answer.split(",")
    found = set()
    for each in answer:
        digits = each if isinstance(each, str | int | np.integer) else "+".join(map(str, each))
        found.add("+".join(sign for sign in str(digits) if sign.isdigit()))
    return found


def _rows(answer: Any) -> str:
    every = set(printed.table2()["positions"])
    right = {row for row in every if row.endswith("4")}
    given = rows_as_names(answer)
    if given == right:
        return ""
    if unknown := sorted(given - every):
        return f"Table 2 has no row {unknown[0]}."
    if given == every - right:
        return "Each of these has one module. Their deepest positions differ."
    if wrong := sorted(given - right):
        return f"The deepest module of row {wrong[0]} is not where those of the other rows are."
    if given == right - {"4"}:
        return "A single module counts too: there is a row with one at the same position."
    return "All of these belong to it, and others too."


def seed_means(model: str) -> pd.Series:
    """The mean DSC of each seed in the stored ablation, in per cent."""
    experiment = Experiment.of("simulated", "laptop-220")
    scores = SCORES.read(experiment.results)
    cases = case_means(common_runs(scores, ABLATION_METHODS)).query("metric == 'DSC'")
    return cases[cases["model"] == model].groupby("seed")["value"].mean()


def _range_of(model: str) -> float:
    means = seed_means(model)
    return float(means.max() - means.min())


def _seeds(answer: Any) -> str:
    given, means = as_number(answer), seed_means(METHOD_OF_POSITIONS["4"])
    right = float(means.max() - means.min())
    if abs(given - right) < NEAR:
        return ""
    mistakes: list[tuple[Callable[[], float], str]] = [
        (lambda: -right, "Take the smallest from the largest, not the other way round."),
        (lambda: means.mean(), "That is the mean of the seeds, not how far apart they are."),
        (lambda: _range_of(METHOD_OF_POSITIONS["1"]), "That is row 1. Take `aspp_unet_4`."),
        (lambda: means.std(), "That is the standard deviation. Take largest minus smallest."),
    ]
    for value, hint in mistakes:
        if abs(given - value()) < NEAR:
            return hint
    return (
        "Another number. Keep the rows of one model, average over the cases of each seed, and give "
        "per cent."
    )


EXERCISES = {
    "5.1": Exercise(
        _rate,
        because="The rates 12 and 18 are larger. In the paper's image, the map is four times as "
        "high and as wide, so all three rates fit.",
    ),
    "5.2": Exercise(
        _rows,
        because="In these rows the number of modules grows and the deepest stays at 4. Still, "
        "they do not say that the number is what counts, because no row has two modules without "
        "position 4. And each module makes the network larger.",
    ),
    "5.3": Exercise(
        _seeds,
        because="Compare it with row 1. Three seeds tell little about the spread: the next three "
        "of the same row may be much closer together or further apart.",
    ),
}
