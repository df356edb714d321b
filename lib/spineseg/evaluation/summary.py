"""Means, SDs and confidence intervals of the scores, and the cases that failed."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.scores import OVERLAPS, SURFACES
from spineseg.evaluation.statistics import interval
from spineseg.labels import ALL_CLASSES, FOREGROUND

METRICS = (*OVERLAPS, *SURFACES)
AGGREGATIONS = ("volume", "slice", "pooled")
RUN = ["fold", "seed"]
PATIENT = ["fold", "case"]
FAILED = 0.7  # a case with a mean DSC below this is a failure
POOR = 0.5  # a class with a DSC below this is poor


def common_runs(scores: pd.DataFrame, models: Iterable[str]) -> pd.DataFrame:
    """The rows of these models, of the runs (fold and seed) that all of them have in common.

    `scores` is a table with the columns model, fold and seed. Models without any row are left out.
    Raises ValueError if the others have no run in common; the message names them.
    """
    rows = scores[scores["model"].isin(list(models))]
    runs = rows[["model", *RUN]].drop_duplicates()
    present = runs["model"].unique()
    counts = runs.groupby(RUN).size()
    shared = counts.index[counts == len(present)]
    if len(present) and shared.empty:
        raise ValueError(f"no fold and seed that all of {', '.join(present)} have")
    return rows[pd.MultiIndex.from_frame(rows[RUN]).isin(shared)]


def same_runs(scores: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The rows of the runs (model, fold and seed) that the table `others` has too."""
    keys = ["model", *RUN]
    return scores.merge(others[keys].drop_duplicates(), on=keys)


def volume_dsc(scores: pd.DataFrame) -> pd.DataFrame:
    """The rows of scores.csv with the DSC of whole volumes."""
    return scores.query("aggregation == 'volume' and metric == 'DSC'")


def summarise(scores: pd.DataFrame) -> pd.DataFrame:
    """Summarise scores (scores.csv of an experiment, or rows of it), in the units of the scores.

    All rows of each model are used. To compare models, select their `common_runs` before. Returns
    one row per model, aggregation, metric and class: `mean`, `sd`, `low` and `high` (the 95 %
    bootstrap interval of the mean over seeds and patients, see `statistics.interval`), and the
    numbers of `seeds` and `cases`. Undefined scores (NaN) are left out. The scores of a case are
    averaged over the seeds first, so that a case has the same weight whatever its number of runs.

    - `volume`: volumes have equal weight. Only these rows have an interval.
    - `slice`: slices have equal weight, regardless of their case. The SD is taken between the means
      of the cases.
    - `pooled`: one value per fold, and `cases` counts the folds.

    The class `all` is the mean of the class means and of the class SDs over the classes that occur,
    as in Table 3. Its interval resamples patients with all their classes.
    """
    devices = scores.groupby("model")["device"].agg(device_names)
    scores = scores.assign(device=scores["model"].map(devices))
    keys = ["data", "profile", "device", "model", "aggregation", "metric"]

    def over_cases(cases: pd.DataFrame) -> pd.Series:
        value, units = cases["value"], cases["units"]
        mean = np.average(value, weights=units) if len(value) else np.nan
        return pd.Series({"mean": mean, "sd": value.std(), "cases": len(value)})

    groups = _over_seeds(scores, [*keys, "class"]).groupby([*keys, "class"], sort=False)
    classes = groups[["value", "units"]].apply(lambda cases: over_cases(cases.dropna()))
    seeds = scores.groupby([*keys, "class"])["seed"].nunique().rename("seeds")
    classes = classes.join(seeds).reset_index()
    counts = {"cases": "max", "seeds": "max"}
    overall = classes.groupby(keys, sort=False).agg({"mean": "mean", "sd": "mean", **counts})
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
    columns = [*keys, "class", "mean", "sd", "low", "high", "seeds", "cases"]
    return summary[columns].astype({"seeds": int, "cases": int})


def _over_seeds(scores: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """One row per `keys` and patient: mean `value` over seeds, weighted by units, and mean `units`.

    `value` is NaN if it is undefined with every seed.
    """
    units = scores["units"].where(scores["value"].notna())
    sums = scores.assign(total=scores["value"] * units, units=units)
    groups = sums.groupby([*keys, *PATIENT], sort=False)
    cases = groups.agg(total=("total", "sum"), units=("units", "sum"), number=("units", "count"))
    value, mean_units = cases["total"] / cases["units"], cases["units"] / cases["number"]
    return cases.assign(value=value, units=mean_units).reset_index()


def _intervals(scores: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """`low` and `high` of the means over volumes, for each class and for all classes."""
    rows = []
    for key, group in scores.query("aggregation == 'volume'").groupby(keys):
        names, values = _by_seed_and_patient(group)
        for index, name in enumerate(names):
            rows.append((*key, name, *interval(values[..., index])))
        rows.append((*key, ALL_CLASSES, *interval(values)))
    return pd.DataFrame(rows, columns=[*keys, "class", "low", "high"])


def _by_seed_and_patient(rows: pd.DataFrame) -> tuple[list[str], np.ndarray]:
    """The names of the classes, and the values as (seeds, patients, classes); NaN for gaps."""
    table = rows.pivot(index=["seed", *PATIENT], columns="class", values="value")
    patients = pd.MultiIndex.from_frame(rows[PATIENT].drop_duplicates())
    seeds = table.index.unique("seed")
    values = np.stack([table.xs(seed).reindex(patients).to_numpy() for seed in seeds])
    return list(table.columns), values


def failures(scores: pd.DataFrame) -> pd.DataFrame:
    """The cases whose mean DSC over their classes is below FAILED, worst first for each model.

    `scores` is the table of all scores of an experiment (scores.csv). Returns one row per case and
    run: the columns that identify it, its mean `DSC`, and two lists of classes, separated by
    spaces, sacrum first. `missed` lists classes of DSC 0: labelled but not found, or found but not
    labelled. `poor` lists classes below POOR, including the missed ones.
    """
    dice = volume_dsc(scores)
    ids = list(dice.columns.drop(["class", "aggregation", "metric", "value", "units"]))
    table = dice.pivot(index=ids, columns="class", values="value").reindex(columns=FOREGROUND)
    table = table[table.mean(axis=1) < FAILED]
    worst = table.index.to_frame(index=False).assign(
        DSC=table.mean(axis=1).to_numpy(), missed=_names(table == 0), poor=_names(table < POOR)
    )
    return worst.sort_values(["model", "DSC"], ignore_index=True)


def _names(marked: pd.DataFrame) -> list[str]:
    """For each row, the names of the marked columns, separated by spaces."""
    return [" ".join(marked.columns[row]) for row in marked.to_numpy()]
