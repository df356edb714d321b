"""Exercises of lesson 9: what a network sees, missed or misnamed, and what a control can tell."""

from collections.abc import Hashable, Mapping
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from spineseg.course.checks import Exercise, as_number
from spineseg.evaluation.result_files import CONFUSION
from spineseg.methods import CONTROL_DEPTH, METHODS, PLAIN, PROPOSED, at_depth
from spineseg.models.receptive_field import rows_seen
from spineseg.paper import by_class, control_networks
from spineseg.utils.paths import REPOSITORY

STUDY = REPOSITORY / "results" / "simulated-laptop"
ONE_STAGE = at_depth(PROPOSED, 1)
LARGEST_RATE = 18
NETWORKS = at_depth(PLAIN, CONTROL_DEPTH), at_depth(PROPOSED, CONTROL_DEPTH)
LEVEL = "L1"
WITHIN = 0.006  # of a share: two digits are enough

MORE_PARAMETERS = 1.2  # times those of U-Net-2D
FAR = 100  # rows that convolutions see
SHORT = "control_"  # what the exercise leaves out of a control's name


def judge_rows(answer: Any) -> str:
    """The rows that ASPP-UNet with one stage sees."""
    rows, plain = as_number(answer), rows_seen(1)
    right = control_networks.rows_of_convolutions(ONE_STAGE)
    if rows == right:
        return ""
    if rows == plain:
        return "This is what U-Net-2D with one stage sees. ASPP reads further."
    if rows == plain + LARGEST_RATE:
        return "A kernel of rate 18 reads 18 rows above and also 18 rows below."
    if rows == 2 * LARGEST_RATE + 1:
        return (
            "This is the kernel of rate 18 alone. The other convolutions and pooling come on top."
        )
    if rows == plain + 4 * LARGEST_RATE:
        return "This is ASPP on a map of half the size. It comes before the pooling, at full size."
    if rows == control_networks.rows_of_convolutions(NETWORKS[1]):
        return "This is the network of two stages. Here there is one."
    return "Add one step to the way back: ASPP comes after pooling and before the convolutions."


def _row(confusion: pd.DataFrame, name: str, level: str) -> Mapping[Hashable, Any]:
    """What a network calls the voxels of a level, as shares."""
    return by_class.shares(confusion, name).div(100).loc[[level]].iloc[0].to_dict()


@cache
def shares_misnamed(level: str = LEVEL) -> tuple[float, ...]:
    """Of a level's voxels that are labelled wrongly, the share that has another class's name."""
    confusion = CONFUSION.read(STUDY)
    rows = [_row(confusion, name, level) for name in NETWORKS]
    return tuple(1 - row["BG"] / (1 - row[level]) for row in rows)


@cache
def _typical_mistakes() -> dict[str, tuple[float, ...]]:
    """Pairs of shares, by the hint that they deserve."""
    confusion = CONFUSION.read(STUDY)
    rows = [_row(confusion, name, LEVEL) for name in NETWORKS]
    return {
        "This is the share that is missed. Subtract it from 1.": tuple(
            1 - share for share in shares_misnamed()
        ),
        "This is a share of all voxels of L1. Divide by the wrong ones only.": tuple(
            1 - row[LEVEL] - row["BG"] for row in rows
        ),
        "This is the share of voxels that are wrong. How many of these have another name?": tuple(
            1 - row[LEVEL] for row in rows
        ),
        "This is another level. Take the row of L1.": shares_misnamed("L2"),
        "You have given ASPP-UNet first. Give U-Net-2D first.": shares_misnamed()[::-1],
    }


def judge_misnamed(answer: Any) -> str:
    """Two shares, of 1 or in per cent."""
    values = answer.values() if isinstance(answer, Mapping) else answer
    given = np.array([float(each) for each in values])
    if len(given) != len(NETWORKS):
        return "Give two numbers: one for U-Net-2D, one for ASPP-UNet."
    given = given / 100 if given.max() > 1 else given
    if np.allclose(given, shares_misnamed(), rtol=0, atol=WITHIN):
        return ""
    for hint, wrong in _typical_mistakes().items():
        if np.allclose(given, wrong, rtol=0, atol=WITHIN):
            return hint
    return "Of the row of L1, leave out L1 itself. What part of the rest is not BG?"


@cache
def controls_for() -> dict[str, frozenset[str]]:
    """The controls that have each possible reason, by their short names."""
    from spineseg.models.counting import parameters

    plain = parameters(NETWORKS[0])
    have: dict[str, set[str]] = {"parameters": set(), "pooling": set(), "reach": set()}
    for name in control_networks.CONTROLS:
        options = METHODS[name].options
        reasons = {
            "parameters": parameters(name) >= MORE_PARAMETERS * plain,
            "pooling": options.get("aspp") != () and options.get("pooling", True),
            "reach": control_networks.rows_of_convolutions(name) > FAR,
        }
        for reason, holds in reasons.items():
            if holds:
                have[reason].add(name.removeprefix(SHORT))
    return {reason: frozenset(names) for reason, names in have.items()}


def judge_controls(answer: Any) -> str:
    """For each reason, the controls that would gain."""
    right = controls_for()
    if not isinstance(answer, Mapping) or set(answer) != set(right):
        return f"Give a dict with the keys {', '.join(right)}."
    titles = {METHODS[name].title: name for name in control_networks.CONTROLS}
    for reason, wanted in right.items():
        names = [answer[reason]] if isinstance(answer[reason], str) else answer[reason]
        given = {titles.get(name, name).removeprefix(SHORT) for name in names}
        if unknown := sorted(
            given - {name.removeprefix(SHORT) for name in control_networks.CONTROLS}
        ):
            return f"There is no control {unknown[0]}."
        if not given:
            return f"{reason}: at least one control has it."
        if extra := sorted(given - wanted):
            return f"{reason}: look at {extra[0]} again. It does not have this."
        if given < wanted:
            return f"{reason}: there are more. Go through the five one by one."
    return ""


EXERCISES = {
    "9.1": Exercise(judge_rows, "ASPP adds 18 rows on both sides, at the full size of the image."),
    "9.2": Exercise(
        judge_misnamed,
        "Both networks miss voxels. How many they misname is what ASPP changes.",
    ),
    "9.3": Exercise(
        judge_controls,
        "Compare with the measured gains. If there were one reason only, it is out if a control "
        "that has it gains nothing, and also if one without it gains. Is one of the three left?",
    ),
}
