"""Checks of the exercises' answers: right, or a hint that names the mistake."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import numpy as np

from spineseg.utils.errors import UserError

RIGHT = "right."
FUNCTION = "Give the function itself: answer_{} = {}, without brackets."
GRADING = "NBGRADER_EXECUTION"  # nbgrader sets this variable where it runs a notebook


@dataclass(frozen=True)
class Exercise:
    """How an answer is judged. `judge` returns "" for a right answer, otherwise a hint.

    `because` is said when the answer is right.
    """

    judge: Callable[[Any], str]
    because: str = ""


def check(number: str, answer: Any) -> None:
    """Say whether the answer to an exercise, such as "3.1", is right; a hint if it is not.

    If nbgrader runs the notebook, raises AssertionError for an answer that is not right, because
    nbgrader gives points to cells without errors.
    """
    said = verdict(number, answer)
    if GRADING in os.environ and not said.startswith(RIGHT):
        raise AssertionError(f"Exercise {number}: {said}")
    print(f"Exercise {number}: {said}")


def verdict(number: str, answer: Any) -> str:
    """`right`, with a reason, or `not yet`, with a hint. Raises UserError for no such exercise."""
    known = exercises()
    if number not in known:
        raise UserError.at(number, "no such exercise", f"choose one of {', '.join(known)}")
    if answer is None:
        return "no answer yet. Put yours in place of None and run both cells."
    exercise = known[number]
    try:
        hint = exercise.judge(answer)
    except Exception as error:  # an answer can be anything, and so can what it raises
        hint = f"your answer cannot be used here: {type(error).__name__}: {error}"
    return f"not yet. {hint}" if hint else f"{RIGHT} {exercise.because}".strip()


def exercises() -> dict[str, Exercise]:
    """All exercises by number, those of `spineseg/course/exercises/` in order."""
    from spineseg.course import exercises as package

    found: dict[str, Exercise] = {}
    for module in sorted(each.name for each in iter_modules(package.__path__)):
        found |= import_module(f"{package.__name__}.{module}").EXERCISES
    return found


def number(
    right: float,
    within: float = 1e-6,
    mistakes: Sequence[tuple[float, str]] = (),
    otherwise: str = "Another number.",
) -> Callable[[Any], str]:
    """Judges a number, also one in a list or an array.

    `within` is the largest absolute error; `mistakes` are wrong ones' hints.
    """

    def judge(answer: Any) -> str:
        value = as_number(answer)
        if math.isclose(value, right, rel_tol=0, abs_tol=within):
            return ""
        for wrong, hint in mistakes:
            if math.isclose(value, wrong, rel_tol=0, abs_tol=within):
                return hint
        return otherwise

    return judge


def as_number(answer: Any) -> float:
    """The number that an answer is, or the only one in its list, array or column."""
    return float(np.asarray(answer).item())
