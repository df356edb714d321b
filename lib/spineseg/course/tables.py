"""How tables of the lessons are printed: titles of methods instead of names, p of three digits."""

import math

import pandas as pd

from spineseg.methods import METHODS

SMALLEST_P = 0.001  # what is below is not printed with digits
TITLES = {name: method.title for name, method in METHODS.items()}


def as_p(value: float) -> str:
    """A p value as text: three digits, or "<0.001". A missing one is empty."""
    if math.isnan(value):
        return ""
    return f"<{SMALLEST_P}" if value < SMALLEST_P else f"{value:.3f}"


def titled(frame: pd.DataFrame) -> pd.DataFrame:
    """A copy with the titles of methods, in a column, an index or columns called "model".

    It is then called "method". Values that are no method's name stay as they are.
    """
    frame = frame.rename(columns={"model": "method"})
    if "method" in frame.columns:
        frame["method"] = frame["method"].map(lambda name: TITLES.get(name, name))
    frame.index = _titled(frame.index)
    frame.columns = _titled(frame.columns)
    return frame


def _titled(labels: pd.Index) -> pd.Index:
    if "model" not in labels.names:
        return labels
    if isinstance(labels, pd.MultiIndex):
        level = labels.names.index("model")
        renamed = [TITLES.get(name, name) for name in labels.levels[level]]
        return labels.set_levels(renamed, level=level).set_names("method", level=level)
    return labels.map(lambda name: TITLES.get(name, name)).rename("method")
