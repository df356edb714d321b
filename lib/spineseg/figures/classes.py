"""Gray values, sizes and scores by class, with one point per case."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spineseg.evaluation.summary import volume_dsc
from spineseg.figures.style import COLUMN_WIDTH
from spineseg.labels import CLASSES, COLOURS, FOREGROUND


def intensities(measured: pd.DataFrame) -> Figure:
    """Mean gray value (0..255) of each class in each case (`data.overview.measure_cases`)."""
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 3.8), layout="constrained")
    _strip(axes, measured, "gray_mean", CLASSES)
    axes.set(xlabel="", ylabel="mean gray (0-255, bar: median)", ylim=(0, 255))
    return figure


def class_sizes(measured: pd.DataFrame) -> Figure:
    """Volume of each class in each case, in mL (`data.overview.measure_cases`)."""
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 3.8), layout="constrained")
    _strip(axes, measured, "volume_ml", FOREGROUND)
    axes.set(xlabel="", ylabel="volume (mL, bar: median)", ylim=(0, None))
    return figure


def scores_by_class(scores: pd.DataFrame, printed: pd.DataFrame | None = None) -> Figure:
    """DSC of each class in each case in per cent, mean over its seeds (scores.csv of one method).

    Diamonds mark the paper's means, if `printed` is given (rows of `paper.printed.table3`).
    """
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 4.2), layout="constrained")
    volumes = volume_dsc(scores)
    cases = volumes.groupby(["class", "case"])["value"].mean().mul(100).reset_index()
    _strip(axes, cases, "value", FOREGROUND)
    if printed is not None:
        means = printed.query("metric == 'DSC'").set_index("class")["mean"]
        names = [label.get_text() for label in axes.get_xticklabels()]
        beside = np.arange(len(names)) + 0.3  # right of the points, which are not covered so
        axes.plot(beside, means[names], "D", color="black", label="paper, patients: mean")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.set(xlabel="", ylabel="DSC of a case (%, bar: our median)", ylim=(-2, 102))
    return figure


def _strip(axes: Axes, table: pd.DataFrame, value: str, names: Sequence[str]) -> None:
    """Draw one point per case and class, and the medians as bars."""
    present = [name for name in names if name in set(table["class"])]
    table = table[table["class"].isin(present)]
    style = {"data": table, "x": "class", "y": value, "order": present, "ax": axes}
    palette = {name: COLOURS[name] for name in present}
    np.random.seed(0)  # noqa: NPY002  (seaborn's jitter uses this generator)
    sns.stripplot(**style, hue="class", palette=palette, size=3.5, alpha=0.6, legend=False)
    sns.boxplot(**style, showbox=False, showcaps=False, showfliers=False, whis=0, color="black")
    sns.despine(ax=axes)
