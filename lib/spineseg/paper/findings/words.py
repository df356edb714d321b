"""Words that several findings share: lists, numbers, points of DSC."""

from collections.abc import Hashable, Iterable, Mapping
from typing import Any

import pandas as pd

from spineseg.methods import METHODS
from spineseg.paper.estimates import ENDS
from spineseg.paper.tables import with_interval

Row = Mapping[Hashable, Any]
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")


def joined(parts: Iterable[str], last_word: str = "and") -> str:
    *first, last = parts
    return f"{', '.join(first)} {last_word} {last}" if first else last


def titles(models: Iterable[Hashable]) -> list[str]:
    return [METHODS[str(name)].title for name in models]


def against_zero(low: pd.Series, high: pd.Series) -> tuple[pd.Series, pd.Series, pd.Series]:
    """Which of these intervals are above zero, which contain it, and which are below it."""
    return low > 0, (low <= 0) & (high >= 0), high < 0


def in_words(number: int) -> str:
    return NUMBERS[number] if number < len(NUMBERS) else str(number)


def how_many(rows: pd.Series) -> str:
    """How many of these rows are true, for a sentence in which the number is alone."""
    return in_words(int(rows.sum())) if rows.any() else "none"


def in_stages(number: int) -> str:
    return f"{in_words(number)} stage{'s' * (number > 1)}"


def in_seeds(number: int) -> str:
    return f"{in_words(number)} seed{'' if number == 1 else 's'}"


def points(row: Row, name: str, ending: str = "") -> str:
    """The columns `name`, `name`_low and `name`_high as text; `ending` follows each."""
    mean, low, high = (row[f"{name}{part}{ending}"] for part in ENDS)
    return with_interval(mean, low, high, "+.1f")
