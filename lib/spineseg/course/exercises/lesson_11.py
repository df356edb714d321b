"""Exercises of lesson 11: verdicts."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from spineseg.course.checks import Exercise
from spineseg.evaluation.result_files import SCORES
from spineseg.evaluation.statistics import interval_of_difference
from spineseg.evaluation.summary import common_runs
from spineseg.methods import PLAIN, PROPOSED, TABLE3_METHODS
from spineseg.paper.verdicts import ALL_VERDICTS, CHANCE, NOT_REPRODUCED, REPRODUCED, verdict
from spineseg.utils.paths import REPOSITORY

STUDY = REPOSITORY / "results" / "phantom-laptop"
LEVEL = "T11"
WITHIN = 0.03  # of the interval's width: one decimal is enough
PATIENTS, TIMES_AS_MANY = 34, 4


def interval_of_lead() -> tuple[float, float]:
    """The interval of ASPP-UNet's lead over U-Net-2D in the DSC of LEVEL, in points."""
    return interval_of_difference(*scores_of_level())


def interval_over_patients() -> tuple[float, float]:
    """The same interval if one forgets that another seed would give another network."""
    return interval_of_difference(*(values.mean(axis=0) for values in scores_of_level()))


@cache
def scores_of_level(level: str = LEVEL) -> tuple[np.ndarray, np.ndarray]:
    """The DSC of a level by ASPP-UNet and U-Net-2D, per cent, (seeds, patients)."""
    scores = common_runs(SCORES.read(STUDY), TABLE3_METHODS)
    rows = scores.query("metric == 'DSC' and aggregation == 'volume' and `class` == @level")
    table = 100 * rows.set_index(["model", "seed", "case"])["value"].unstack("case")
    return table.loc[PROPOSED].to_numpy(), table.loc[PLAIN].to_numpy()


def judge_claim(answer: Any) -> str:
    """Two ends of an interval, and the verdict."""
    if isinstance(answer, str) or len(answer) != 3:
        return 'Give three things: (low, high, "the verdict").'
    low, high, word = float(answer[0]), float(answer[1]), str(answer[2]).strip().casefold()
    right = interval_of_lead()
    if word not in ALL_VERDICTS:
        return f"Choose one of the verdicts: {', '.join(ALL_VERDICTS)}."
    if low > high:
        return "Give the lower end first."
    if _near((100 * low, 100 * high), right):
        return "These are shares. Give points: a DSC of 0.9 is 90."
    if _near((-high, -low), right):
        return "This is U-Net-2D minus ASPP-UNet. Turn it around."
    if _near((low, high), interval_over_patients()):
        return "This is over patients alone. Give each seed a row, instead of their mean."
    if not _near((low, high), right):
        return (
            "Another interval. Use `interval_of_difference` for class T11 only, with seeds as rows "
            "and patients as columns."
        )
    if word != verdict(*right):
        return "The interval is right. Is it above zero, below zero, or does it contain zero?"
    return ""


def _near(given: tuple[float, float], right: tuple[float, float]) -> bool:
    return bool(np.allclose(given, right, rtol=0, atol=WITHIN * (right[1] - right[0])))


def judge_equal(answer: Callable[..., str]) -> str:
    """Call the function with intervals whose verdict is known."""
    if not callable(answer):
        return "Give the function itself, without brackets."
    for low, high, margin, right, hint in (
        (
            -0.5,
            0.7,
            1,
            REPRODUCED,
            "From -0.5 to +0.7, nobody would mind any of it at a margin of 1.",
        ),
        (0.2, 0.8, 1, REPRODUCED, "An interval above zero can be within the margin, too."),
        (2, 3, 1, NOT_REPRODUCED, "From +2 to +3 is outside of a margin of 1."),
        (-3, -2, 1, NOT_REPRODUCED, "A margin has two sides: from -3 to -2 is outside of it, too."),
        (
            -0.5,
            2,
            1,
            CHANCE,
            "From -0.5 to +2 is in part within a margin of 1 and in part outside.",
        ),
        (-5, 5, 1, CHANCE, "From -5 to +5 holds zero, but also differences of 5 points."),
        (
            -2,
            0.5,
            1,
            CHANCE,
            "From -2 to +0.5 is in part within a margin of 1 and in part outside.",
        ),
        (0.5, 2, 1, CHANCE, "From +0.5 to +2 is above zero, and still in part within the margin."),
        (0.2, 0.8, 0.1, NOT_REPRODUCED, "Use the margin that is given; it is not always 1."),
    ):
        if str(answer(low, high, margin)).strip().casefold() != right:
            return hint
    return ""


def judge_patients(answer: Any) -> str:
    """A number of patients, and whether they are enough."""
    if isinstance(answer, int | float) or len(answer) != 2:
        return 'Give two things: (a number of patients, "yes" or "no").'
    number, enough = float(answer[0]), answer[1]
    yes = enough if isinstance(enough, bool | np.bool_) else str(enough).strip().casefold() == "yes"
    hints = {
        2 * PATIENTS: "Twice as many make it narrower by the root of two only.",
        3 * PATIENTS: "These are the additional patients. Count the first 34, too.",
        PATIENTS / 2: "Fewer patients make an interval wider.",
        round(
            PATIENTS * 2**0.5
        ): "The width falls with the root of the number, not with its square.",
    }
    if number in hints:
        return hints[number]
    if number != TIMES_AS_MANY * PATIENTS:
        return "The width falls with the root of the number of patients."
    if not yes:
        return "The number is right. From which end of the new interval is zero how far away?"
    return ""


EXERCISES = {
    "11.1": Exercise(
        judge_claim,
        "Compare its width with that of the lead in the mean of all classes. Patients and seeds "
        "differ much in T11, and little in a class such as S.",
    ),
    "11.2": Exercise(
        judge_equal,
        "So it takes a narrow interval to show that two methods are equally good.",
    ),
    "11.3": Exercise(
        judge_patients,
        "136 patients would do, if seeds played no part. With few seeds, they set a limit.",
    ),
}
