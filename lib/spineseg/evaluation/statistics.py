"""Statistics of the scores: confidence intervals, paired comparisons, failed cases."""

from functools import cache

import numpy as np
import pandas as pd

from spineseg.labels import FOREGROUND

RESAMPLES = 10_000  # of the bootstrap
FAILED = 0.7  # a case with a mean DSC below this is a failure
POOR = 0.5  # a class with a DSC below this is poor


def interval(values, seed: int = 0) -> tuple[float, float]:
    """95 % bootstrap interval of the mean over patients; NaN for fewer than two patients.

    `values` is one score per patient, (patients,), or one per patient and class, (patients,
    classes). In the latter case the mean is that of the class means. NaN is a score that is not
    defined: means are taken over the defined scores, and patients without any are left out.
    Returns the lower and upper end, in the units of `values`. Equal seeds give equal intervals.

    It is the percentile interval, widened for small samples so that for normal data it is as wide
    as Student's t interval (Hesterberg 2015, doi:10.1080/00031305.2015.1089789). Without that, it
    would cover 92 % for eleven patients.
    """
    from scipy.stats import norm, t

    table = np.asarray(values, dtype=float)
    if table.ndim == 1:
        table = table[:, None]
    defined = ~np.isnan(table)
    table, defined = table[defined.any(1)], defined[defined.any(1)]
    patients = len(table)
    if patients < 2:
        return np.nan, np.nan
    drawn = _drawn(patients, seed)
    counts = drawn @ defined
    sums = drawn @ np.where(defined, table, 0)
    means = np.divide(sums, counts, out=np.full(sums.shape, np.nan), where=counts > 0)
    tail = norm.cdf(np.sqrt(patients / (patients - 1)) * t.ppf(0.025, patients - 1))
    low, high = np.quantile(np.nanmean(means, axis=1), [tail, 1 - tail])
    return float(low), float(high)


@cache
def _drawn(patients: int, seed: int) -> np.ndarray:
    """How many times each resample draws each patient, (RESAMPLES, patients)."""
    generator = np.random.default_rng(seed)
    evenly = np.full(patients, 1 / patients)
    return generator.multinomial(patients, evenly, RESAMPLES).astype(float)


def paired(scores: pd.DataFrame, reference: str) -> pd.DataFrame:
    """Compare the model `reference` with each other model over the same cases.

    `scores` has one row per model and case, with the columns model, case and value. Returns one row
    per other model: `model`, the number of `cases`, the mean `difference` (reference - model), its
    interval (`low`, `high`; see `interval`), the two-sided `p` of Wilcoxon's signed-rank test (1 if
    no case differs), and `p_holm`, corrected for the number of models.

    Raises ValueError if `reference` has no scores or if a model lacks a case; the message names
    the models and cases.
    """
    if reference not in set(scores["model"]):
        raise ValueError(f"no scores of {reference}")
    values = scores.pivot(index="case", columns="model", values="value")
    if faults := [
        f"{model} lacks {', '.join(map(str, values.index[absent]))}"
        for model, absent in values.isna().items()
        if absent.any()
    ]:
        raise ValueError(f"not scored on the same cases: {'; '.join(faults)}")
    rows = [
        _comparison(model, (values[reference] - values[model]).to_numpy())
        for model in scores["model"].unique()
        if model != reference
    ]
    columns = ["model", "cases", "difference", "low", "high", "p"]
    table = pd.DataFrame(rows, columns=columns)
    return table.assign(p_holm=holm(table["p"]))


def _comparison(model: str, differences: np.ndarray) -> tuple:
    from scipy.stats import wilcoxon

    p = wilcoxon(differences).pvalue if differences.any() else 1.0
    return model, len(differences), differences.mean(), *interval(differences), p


def holm(p) -> np.ndarray:
    """Correct p values, (n,), for their number by Holm's step-down method; returns (n,)."""
    p = np.asarray(p, dtype=float)
    order = p.argsort()
    steps = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.maximum.accumulate(steps).clip(max=1)
    return corrected


def failures(scores: pd.DataFrame) -> pd.DataFrame:
    """The cases whose mean DSC over their classes is below FAILED, worst first for each model.

    `scores` is the table of all scores of an experiment (scores.csv). Returns one row per case and
    run: the columns that identify it, its mean `DSC`, and two lists of classes, separated by
    spaces, sacrum first. `missed` lists classes of DSC 0: labelled but not found, or found but not
    labelled. `poor` lists classes below POOR, including the missed ones.
    """
    dice = scores.query("aggregation == 'volume' and metric == 'DSC'")
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
