"""Means and differences of methods with their intervals, from stored scores."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import interval, interval_of_difference, mean
from spineseg.evaluation.summary import common_runs
from spineseg.paper.tables import case_means

ENDS = ("", "_low", "_high")  # of the columns of a mean and its interval
Estimate = tuple[float, float, float]  # a mean or difference, and its 95 % interval
UNDEFINED: Estimate = (np.nan, np.nan, np.nan)


def case_dsc(scores: pd.DataFrame, models: Sequence[str]) -> list[np.ndarray]:
    """The DSC of each model, (seeds, patients), over the runs that all of them have in common."""
    return [table.to_numpy() for table in case_tables(scores, models)]


def case_tables(scores: pd.DataFrame, models: Sequence[str]) -> list[pd.DataFrame]:
    """The same with the seeds as the index and the names of the patients as columns."""
    cases = case_means(common_runs(scores, models)).query("metric == 'DSC'")
    table = cases.pivot(index=["model", "seed"], columns="case", values="value")
    return [table.loc[[model]].droplevel("model") for model in models]


def mean_with_interval(values: np.ndarray) -> Estimate:
    return mean(values), *interval(values)


def difference_with_interval(one: np.ndarray, other: np.ndarray) -> Estimate:
    """The mean difference of two methods, each (seeds, patients), with its interval."""
    return mean(one) - mean(other), *interval_of_difference(one, other)
