"""Means, SDs and confidence intervals of the scores, by method, metric and class."""

import numpy as np
import pandas as pd

from spineseg.evaluation.scores import OVERLAPS, SURFACES
from spineseg.evaluation.statistics import interval
from spineseg.labels import ALL_CLASSES, FOREGROUND

METRICS = (*OVERLAPS, *SURFACES)
AGGREGATIONS = ("volume", "slice", "pooled")


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise the scores of an experiment (scores.csv), in the units of the scores.

    Returns one row per model, aggregation, metric and class: `mean`, `sd`, `low` and `high` (the
    95 % bootstrap interval of the mean, see `statistics.interval`) and `cases`, the number of
    values. Undefined scores (NaN) are left out.

    - `volume`: volumes have equal weight. Only these rows have an interval.
    - `slice`: slices have equal weight, regardless of their case. The SD is taken between the means
      of the cases.
    - `pooled`: one value per fold.

    The class `all` is the mean of the class means and of the class SDs over the classes that occur,
    as in Table 3. Its interval resamples patients with all their classes.
    """
    devices = scores.groupby("model")["device"].agg(lambda names: "; ".join(sorted(set(names))))
    scores = scores.assign(device=scores["model"].map(devices))
    keys = ["data", "profile", "device", "model", "aggregation", "metric"]

    def over_cases(group: pd.DataFrame) -> pd.Series:
        defined = group.dropna()
        value = defined["value"]
        mean = np.average(value, weights=defined["units"]) if len(value) else np.nan
        return pd.Series({"mean": mean, "sd": value.std(), "cases": len(value)})

    classes = scores.groupby([*keys, "class"], sort=False)[["value", "units"]].apply(over_cases)
    classes = classes.reset_index()
    overall = classes.groupby(keys, sort=False).agg({"mean": "mean", "sd": "mean", "cases": "max"})
    overall = overall.reset_index().assign(**{"class": ALL_CLASSES})
    summary = pd.concat([classes, overall], ignore_index=True)
    summary = summary.merge(_intervals(scores, keys), how="left", on=[*keys, "class"])
    orders = {
        "aggregation": AGGREGATIONS,
        "metric": METRICS,
        "class": (*FOREGROUND, ALL_CLASSES),
    }
    for column, order in orders.items():
        summary[column] = pd.Categorical(summary[column], order)
    summary = summary.sort_values(["model", *orders], ignore_index=True)
    columns = [*keys, "class", "mean", "sd", "low", "high", "cases"]
    return summary[columns].astype({"cases": int})


def _intervals(scores: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`low` and `high` of the means over volumes, for each class and for all classes."""
    rows = []
    for key, group in scores.query("aggregation == 'volume'").groupby(keys):
        table = group.pivot(index=["fold", "case"], columns="class", values="value")
        for name, values in [*table.items(), (ALL_CLASSES, table)]:
            rows.append((*key, name, *interval(values)))
    return pd.DataFrame(rows, columns=[*keys, "class", "low", "high"])
