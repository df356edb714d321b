"""What scores come to: means and intervals by method, metric and class."""

import numpy as np
import pandas as pd

from spineseg.evaluation.scores import OVERLAPS, SURFACES
from spineseg.evaluation.statistics import interval
from spineseg.labels import FOREGROUND

SUMMARY = "summary.csv"
METRICS = (*OVERLAPS, *SURFACES)
AGGREGATIONS = ("volume", "slice", "pooled")
MEAN = "mean"


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean and SD by model, aggregation, metric and class; `cases` says over how many values.

    Volumes weigh alike; slices weigh alike, whichever case they come from (SD: between the cases'
    means). Pooled values are one a fold. The class `mean` is the mean of the class means and SDs,
    as in Table 3, over the classes that occur. Undefined values (NaN) do not count. `low` and
    `high` bound the 95 % bootstrap interval of a mean over volumes, patients resampled with all
    their classes (`statistics.interval`).
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
    overall = overall.reset_index().assign(**{"class": MEAN})
    summary = pd.concat([classes, overall], ignore_index=True)
    summary = summary.merge(_intervals(scores, keys), how="left", on=[*keys, "class"])
    orders = {
        "aggregation": AGGREGATIONS,
        "metric": METRICS,
        "class": (*FOREGROUND, MEAN),
    }
    for column, order in orders.items():
        summary[column] = pd.Categorical(summary[column], order)
    summary = summary.sort_values(["model", *orders], ignore_index=True)
    columns = [*keys, "class", "mean", "sd", "low", "high", "cases"]
    return summary[columns].astype({"cases": int})


def _intervals(scores: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`low` and `high` of the means over volumes, class by class and of the mean of class means."""
    rows = []
    for key, group in scores.query("aggregation == 'volume'").groupby(keys):
        table = group.pivot(index=["fold", "case"], columns="class", values="value")
        for name, values in [*table.items(), (MEAN, table)]:
            rows.append((*key, name, *interval(values)))
    return pd.DataFrame(rows, columns=[*keys, "class", "low", "high"])
