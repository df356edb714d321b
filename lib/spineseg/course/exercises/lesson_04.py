"""Exercises of lesson 4: scores by hand, and how they are averaged."""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from spineseg.course.checks import FUNCTION, Exercise, number
from spineseg.utils.paths import REPOSITORY

STUDY = REPOSITORY / "results" / "phantom-laptop"
WITHIN = 0.06  # points
CLOSE = 1e-4  # relative: single precision is enough


def masks(truth: str, predicted: str) -> tuple[np.ndarray, np.ndarray]:
    """Two masks from text, 1 for a voxel of the class."""
    return tuple(np.array([digit == "1" for digit in text]) for text in (truth, predicted))  # type: ignore[return-value]


def judge_dice(answer: Callable[[np.ndarray, np.ndarray], float]) -> str:
    """Call the function with masks whose DSC is known."""
    if not callable(answer):
        return FUNCTION.format("4_1", "dice")
    one, other = masks("11110000", "00111000")  # 4 and 3 voxels, 2 in both
    value, right = answer(one, other), 4 / 7
    if value is None:
        return "The function returns nothing. Its last line must begin with return."
    per_cent = math.isclose(value, 100 * right, rel_tol=CLOSE)
    unit = 100 if per_cent else 1
    hints = {
        2 / 5: "This is the IoU. Divide by the sum of both sizes, not by the union.",
        2 / 7: "The factor 2 is missing.",
        4 / 5: "Divide by the sum of both sizes, not by the union.",
        2 / 4: "This is the shared part of the truth (recall). Count both masks below the line.",
        2 / 3: "This is the shared part of the prediction (precision). Count both masks.",
        5 / 8: "This counts voxels that agree, also empty ones. Only shared voxels count.",
    }
    if not math.isclose(value, unit * right, rel_tol=CLOSE):
        for wrong, hint in hints.items():
            if math.isclose(value, wrong, rel_tol=CLOSE):
                return hint
        return f"Masks of 4 and 3 voxels with 2 in both have DSC 2 * 2 / (4 + 3), not {value:.3f}."
    if not math.isclose(answer(one, one), unit, rel_tol=CLOSE):
        return "A mask and itself must have DSC 1."
    none, some = masks("000000", "100000")
    if answer(none, some) != 0 or answer(some, none) != 0:
        return "If just one of the masks is empty, the DSC is 0."
    empty = answer(none, none)
    if empty is None or not math.isnan(empty):
        return (
            f"If both masks are empty, your function gives {empty}. That would count a class that "
            "is not there. Return np.nan."
        )
    rng = np.random.default_rng(0)
    first, second = rng.random((2, 3, 8, 8)) < 0.4  # volumes
    right = 2 * (first & second).sum() / (first.sum() + second.sum())
    if not math.isclose(answer(first, second), unit * right, rel_tol=CLOSE):
        return "It is right in one dimension. Volumes have three: use .sum() without an axis."
    return ""


@cache
def means() -> pd.Series:
    """The mean DSC and IoU of T11 over volumes, of ASPP-UNet."""
    summary = pd.read_csv(STUDY / "summary.csv")
    rows = summary.query("model == 'aspp_unet' and aggregation == 'volume' and `class` == 'T11'")
    return rows.set_index("metric")["mean"]


def judge_gap(answer: Any) -> str:
    dsc, iou = means()["DSC"], means()["IoU"]
    expected = dsc / (2 - dsc)
    gap = 100 * (iou - expected)
    mistakes = [
        (-gap, "The other way round: the mean IoU minus what the formula gives."),
        (100 * (iou - dsc), "This is IoU minus DSC. Put the mean DSC into the formula first."),
        (100 * (dsc - iou), "This is DSC minus IoU. Put the mean DSC into the formula first."),
        (100 * expected, "This is what the formula gives. Subtract it from the mean IoU."),
        (100 * iou, "This is the mean IoU. Subtract what the formula gives for the mean DSC."),
    ]
    value = float(np.squeeze(answer))
    if abs(value - gap / 100) < WITHIN / 100:
        return "This is a share. In points, per cent minus per cent, it is 100 times as much."
    otherwise = "Take ASPP-UNet, aggregation volume, class T11, and 100 * (IoU - DSC / (2 - DSC))."
    return number(gap, WITHIN, mistakes, otherwise)(value)


@cache
def spreads() -> pd.DataFrame:
    """Best minus worst class and the SD over classes by case, of ASPP-UNet with seed 0."""
    scores = pd.read_csv(STUDY / "scores.csv")
    rows = scores.query(
        "model == 'aspp_unet' and seed == 0 and aggregation == 'volume' and metric == 'DSC'"
    )
    by_case = rows.groupby("case")["value"]
    return pd.DataFrame(
        {"range": by_case.max() - by_case.min(), "sd": by_case.std(), "mean": by_case.mean()}
    )


def judge_case(answer: Any) -> str:
    table = spreads()
    if isinstance(answer, (list, tuple, np.ndarray, pd.Series, pd.Index)) and len(answer) == 1:
        answer = next(iter(answer))
    if isinstance(answer, (int, np.integer)):
        answer = f"Case{answer}"
    named = {name.casefold(): name for name in table.index}.get(str(answer).strip().casefold())
    if named is None:
        return f"{answer} is no test patient of the study. Answer with a name such as Case1."
    if named == table["range"].idxmax():
        return ""
    if named == table["range"].idxmin():
        return "Here the classes differ least. Take the largest distance."
    if named == table["mean"].idxmin():
        return "This is the patient with the lowest mean. Compare the classes within each patient."
    return (
        f"In {named} the best and the worst class differ by {100 * table.loc[named, 'range']:.0f} "
        "points. In another patient they differ by more."
    )


EXERCISES = {
    "4.1": Exercise(
        judge_dice,
        because="The library's dsc does the same for all classes at once, from counts.",
    ),
    "4.2": Exercise(
        judge_gap,
        because=(
            "The curve D / (2 - D) is bent upwards (convex), so the mean of its values is never "
            "below its value at the mean. Lesson 10 tests the paper's table with it."
        ),
    ),
    "4.3": Exercise(
        judge_case,
        because="One class that scores 0 hides in a mean. Does the truth have that class at all? "
        "If it does not, a few wrong voxels are enough for a 0.",
    ),
}
