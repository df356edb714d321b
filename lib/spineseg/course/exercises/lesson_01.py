"""Exercises of lesson 1: scans, masks and what tells one vertebra from the next."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from spineseg.course.checks import FUNCTION, Exercise
from spineseg.labels import CLASSES
from spineseg.utils.paths import REPOSITORY

MIDDLE = ("L4", "L3", "L2", "L1", "T12")  # vertebrae between two others
WITHIN = 0.002  # of a share


@cache
def measured() -> pd.DataFrame:
    """Sizes and gray values of the phantom's classes, as stored."""
    return pd.read_csv(REPOSITORY / "results" / "phantom-laptop" / "measured.csv")


def shared_area(one: np.ndarray, other: np.ndarray) -> float:
    """The area that two histograms share, each scaled to a sum of 1."""
    return float(np.minimum(one / one.sum(), other / other.sum()).sum())


def judge_overlap(answer: Callable[[np.ndarray, np.ndarray], float]) -> str:
    """Call the function with histograms whose overlap is known."""
    if not callable(answer):
        return FUNCTION.format("1_1", "overlap")
    small, large = np.array([1, 2, 1]), np.array([10, 20, 10])
    unit = 100 if np.isclose(answer(small, large), 100) else 1  # per cent are as good
    if not np.isclose(answer(small, large), unit):
        return (
            "Two histograms of the same form overlap fully, however many voxels they have. "
            "Divide each by its own sum."
        )
    if not np.isclose(answer(np.array([3, 0, 0]), np.array([0, 0, 4])), 0):
        return "Histograms that never meet have the overlap 0. Take the smaller height, bin by bin."
    rng = np.random.default_rng(0)
    for _ in range(3):
        one, other = rng.integers(0, 50, (2, 256))
        value, right = answer(one, other) / unit, shared_area(one, other)
        if np.isclose(value, right):
            continue
        if np.isclose(value, 1 - right):
            return "This is the part that they do not share. Subtract it from 1."
        if np.isclose(value, right / (2 - right)):
            return "This is divided by the area of both together. Take the shared area itself."
        return "Take the smaller height of both at each gray value, and sum over all gray values."
    return ""


def ratios_to_neighbours() -> pd.Series:
    """Volume over the mean volume of both neighbours, by case and level."""
    volumes = measured().pivot(index="case", columns="class", values="volume_ml")
    ratios = {
        name: 2 * volumes[name] / (volumes[CLASSES[index - 1]] + volumes[CLASSES[index + 1]])
        for index, name in enumerate(CLASSES)
        if name in MIDDLE
    }
    return pd.Series(pd.DataFrame(ratios).stack()).dropna()


def smallest_ratio() -> tuple[str, str]:
    """Case and level of the vertebra that is smallest beside its neighbours."""
    ratios = ratios_to_neighbours()
    case, level = ratios.index[int(ratios.argmin())]
    return str(case), str(level)


def judge_small(answer: Any) -> str:
    """The case and level of the smallest ratio, in any order."""
    if isinstance(answer, str):
        answer = answer.replace(",", " ").split()
    given = [str(each).strip().casefold() for each in answer]
    if len(given) != 2:
        return 'Give the case and the level, such as ("Case1", "L4").'
    case, level = smallest_ratio()
    if sorted(given) == sorted([case.casefold(), level.casefold()]):
        return ""
    volumes = measured()[measured()["class"].isin(MIDDLE)]
    smallest = volumes.iloc[volumes["volume_ml"].argmin()]
    if sorted(given) == sorted(str(smallest[key]).casefold() for key in ("case", "class")):
        return "This vertebra has the smallest volume of all, perhaps because the patient is small."
    if case.casefold() in given:
        return "The case is right. Which of its vertebrae is small beside its neighbours?"
    return "Divide by the mean of the two neighbours of the same case, and look for the smallest."


def right_background() -> tuple[float, float]:
    """The share of background voxels, of all voxels and as a mean over cases."""
    table = measured()
    background = table[table["class"] == "BG"].set_index("case")["voxels"]
    every = table.groupby("case")["voxels"].sum()
    return float(background.sum() / every.sum()), float((background / every).mean())


def judge_background(answer: Any) -> str:
    """The share of right voxels, and the DSC, as shares or per cent."""
    given = [float(each) for each in np.ravel(answer)]
    if len(given) != 2:
        return "Give two numbers: the share of right voxels, and the mean DSC."
    accuracy, dsc = given
    accuracy = accuracy / 100 if accuracy > 1 else accuracy
    right = right_background()
    if np.isclose(accuracy, [1 - each for each in right], atol=WITHIN).any():
        return "This is the share of the voxels that are not background: those that are missed."
    if np.isclose(accuracy, 1 / len(CLASSES), atol=WITHIN):
        return "The nine classes do not have equally many voxels. Count them in `measured`."
    if not np.isclose(accuracy, right, atol=WITHIN).any():
        return "The network is right wherever the truth is background. Count these voxels."
    if dsc != 0:
        return (
            "The prediction has no voxel in any of the eight classes, so it shares none with the "
            "truth. The DSC of the background does not count."
        )
    return ""


EXERCISES = {
    "1.1": Exercise(
        judge_overlap,
        "Neighbouring vertebrae share nearly all of it, so no threshold separates them.",
    ),
    "1.2": Exercise(
        judge_small,
        "A crushed vertebra is flat. A network that knows only size may take it for another level.",
    ),
    "1.3": Exercise(
        judge_background,
        "A useless network is right in most voxels. That is why scores here are DSC and IoU.",
    ),
}
