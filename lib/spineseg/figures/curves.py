"""Curves over the epochs and over the noise level: losses (Fig. 8 and 9) and robustness."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from spineseg.evaluation.summary import RUN, common_runs
from spineseg.figures.style import COLUMN_WIDTH, PAGE_WIDTH, log_scale, method_line
from spineseg.methods import NNUNET, NOISE_METHODS, TABLE3_METHODS

APART = 0.7  # units of k between two methods, so that their intervals do not cover each other


def training(log: pd.DataFrame) -> Figure:
    """Training and testing loss of one method per epoch: the mean over its runs.

    The band spans the runs (folds and seeds). One is added to the loss of nnU-Net (`_losses`).
    """
    (model,) = log["model"].unique()
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 3.8), layout="constrained")
    long = log.melt(["epoch", *RUN], ["train_loss", "test_loss"], "part", "loss").dropna()
    long["loss"] += _added(model)
    long["part"] = long["part"].map({"train_loss": "training", "test_loss": "testing"})
    sns.lineplot(
        long,
        x="epoch",
        y="loss",
        hue="part",
        style="part",
        errorbar=("pi", 100),
        ax=axes,
        palette=["#0072B2", "#D55E00"],
    )
    axes.set(xlabel="epoch", ylabel=_loss_name(model))
    log_scale(axes, "y")
    axes.legend(title=None)
    sns.despine(ax=axes)
    return figure


def fig8(curves: pd.DataFrame) -> Figure:
    """Fig. 8: training loss per epoch of each method of Table 3 (`_losses`)."""
    return _losses(curves, "train_loss", "training loss")


def fig9(curves: pd.DataFrame) -> Figure:
    """Fig. 9: loss on test slices per epoch of each method of Table 3 (`_losses`)."""
    return _losses(curves, "test_loss", "testing loss")


def _losses(curves: pd.DataFrame, part: str, label: str) -> Figure:
    """One line per method of curves.csv. nnU-Net has another loss and so its own panel.

    A line is the mean over the runs (folds and seeds) that all methods have in common. The band
    around it spans these runs. nnU-Net subtracts the soft Dice from the cross-entropy. One is added
    here, which makes its loss positive, as a logarithmic axis needs.
    """
    by_epoch = common_runs(curves, TABLE3_METHODS).groupby(["model", "epoch"])[part]
    losses = by_epoch.agg(["mean", "min", "max"]).dropna()
    ran = [name for name in TABLE3_METHODS if name in losses.index.get_level_values("model")]
    groups = [[name for name in ran if name != NNUNET], [name for name in ran if name == NNUNET]]
    groups = [group for group in groups if group]
    figure, axes = plt.subplots(
        1,
        len(groups),
        figsize=(PAGE_WIDTH if len(groups) > 1 else COLUMN_WIDTH, 4.4),
        width_ratios=[2, 1][: len(groups)],
        layout="constrained",
        squeeze=False,
    )
    for axis, group in zip(axes[0], groups, strict=True):
        for name in group:
            loss, style = losses.loc[name] + _added(name), method_line(name)
            axis.plot(loss.index, loss["mean"], **style, markevery=max(1, len(loss) // 8))
            axis.fill_between(
                loss.index, loss["min"], loss["max"], color=style["color"], alpha=0.2, linewidth=0
            )
        axis.set(xlabel="epoch", ylabel=f"{label}: {_loss_name(group[0])}")
        log_scale(axis, "y")
        axis.legend()
        sns.despine(ax=axis)
    return figure


def _added(model: str) -> int:
    """What is added to a method's loss in figures."""
    return 1 if model == NNUNET else 0


def _loss_name(model: str) -> str:
    return "cross-entropy + 1 - soft Dice" if model == NNUNET else "cross-entropy"


def noise(curves: pd.DataFrame) -> Figure:
    """DSC of each method over the noise level k (`paper.tables.noise_curves`).

    Bars are 95 % intervals over seeds and patients. The methods are drawn beside each other.
    """
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 5), layout="constrained")
    names = [name for name in NOISE_METHODS if name in set(curves["model"])]
    for place, name in enumerate(names):
        curve = curves[curves["model"] == name].sort_values("k")
        beside = curve["k"] + APART * (place - (len(names) - 1) / 2)
        errors = np.abs(curve[["low", "high"]].T - curve["DSC"])
        axes.errorbar(beside, curve["DSC"], errors, **method_line(name), elinewidth=1, capsize=2)
    label = "k (Eq. 5): SD of the noise, gray values of 0 to 255"
    axes.set(xlabel=label, ylabel="mean DSC (%)", ylim=(0, 100))
    axes.set_xticks(sorted(curves["k"].unique()))
    figure.legend(loc="outside lower center", ncols=2)
    sns.despine(ax=axes)
    return figure
