"""Scores of single patients, seeds and classes: spread, paired differences, worst cases."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from spineseg.evaluation.summary import FAILED
from spineseg.figures.style import PAGE_WIDTH, method_line
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import METHODS, TABLE3_METHODS

BLUE, ORANGE = "#0072B2", "#D55E00"
SEED_COLOURS = (BLUE, "#E69F00", "#009E73", "#CC79A7", "#56B4E9")


def spread(values: pd.DataFrame) -> Figure:
    """The DSC of each patient (column) with each seed (row), in per cent; worst patients first."""
    figure, (patients, seeds) = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH, 3.0), sharey=True, width_ratios=[4, 1], layout="constrained"
    )
    order = values.mean().sort_values().index
    places = np.arange(len(order))
    patients.vlines(places, values[order].min(), values[order].max(), color="lightgray")
    for number, (seed, row) in enumerate(values[order].iterrows()):
        colour = SEED_COLOURS[number % len(SEED_COLOURS)]
        patients.plot(places, row, "o", color=colour, markersize=4, label=f"seed {seed}")
        seeds.plot(number, row.mean(), "D", color=colour, markersize=7)
    patients.set(xlabel="patients, the worst first", ylabel="mean DSC (%)", xticks=[])
    patients.legend(loc="lower right")
    seeds.set(xlabel="mean of each seed", xlim=(-0.7, len(values) - 0.3))
    seeds.set_xticks(range(len(values)), [str(seed) for seed in values.index])
    sns.despine(figure)
    return figure


def paired_differences(
    differences: pd.Series, intervals: Mapping[str, tuple[float, float]], label: str
) -> Figure:
    """One dot per patient: one network minus another, in points; below it intervals of the mean."""
    below = 0.6 + 0.25 * len(intervals)  # inches
    figure, (strip, ends) = plt.subplots(
        2,
        1,
        figsize=(PAGE_WIDTH, 1.4 + below),
        sharex=True,
        height_ratios=(1.4, below),
        layout="constrained",
    )
    jitter = np.random.default_rng(0).uniform(-1, 1, len(differences))
    colours = np.where(differences > 0, BLUE, ORANGE)
    strip.scatter(differences, jitter, 22, color=colours, alpha=0.8, linewidth=0)
    strip.set(yticks=[], ylim=(-2, 2), ylabel="patients")
    names = list(intervals)
    for height, name in enumerate(names):
        low, high = intervals[name]
        ends.plot([low, high], [height, height], color="black", linewidth=2, solid_capstyle="butt")
        ends.plot(differences.mean(), height, "o", color="black", markersize=5)
    ends.set_yticks(range(len(names)), names)
    ends.set(ylim=(len(names) - 0.5, -0.5), xlabel=label)
    for axes in (strip, ends):
        axes.axvline(0, color="gray", linewidth=0.8)
    sns.despine(ax=strip, left=True)
    sns.despine(ax=ends)
    return figure


def classes_of_methods(table3: pd.DataFrame, data: str) -> Figure:
    """The mean of each class and method, the paper's on the left and ours on `data` on the right.

    `table3` is that of `paper.tables.beside_table3`.
    """
    rows = table3[(table3["metric"] == "DSC") & (table3["class"] != ALL_CLASSES)]
    figure, panels = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH, 3.4), sharey=True, layout="constrained"
    )
    titles = {"paper": "paper, patients", "ours": f"ours, {data}"}
    for axes, whose in zip(panels, titles, strict=True):
        values = rows.pivot(index="model", columns="class", values=whose)
        values = values.reindex(columns=[name for name in FOREGROUND if name in values])
        for name in (name for name in TABLE3_METHODS if name in values.index):
            axes.plot(values.columns, values.loc[name], **method_line(name))
        axes.set(title=titles[whose], xlabel="class, from the sacrum upwards")
        axes.grid(axis="y", linewidth=0.4)
    panels[0].set_ylabel("mean DSC (%)")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    sns.despine(figure)
    return figure


def distances(table3: pd.DataFrame) -> Figure:
    """95 % Hausdorff distance and normalised surface Dice of each method, with 95 % intervals."""
    rows = table3[table3["class"] == ALL_CLASSES].set_index("model")
    ran = [name for name in TABLE3_METHODS if name in rows.index[rows["ours"].notna()]]
    figure, panels = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH, 0.9 + 0.28 * max(len(ran), 1)), sharey=True, layout="constrained"
    )
    labels = {
        "HD95": "95 % Hausdorff distance (mm), less is better",
        "NSD": "surface within 3 mm (%), more is better",
    }
    for axes, (metric, label) in zip(panels, labels.items(), strict=True):
        own = rows[rows["metric"] == metric].reindex(ran)
        errors = np.abs(own[["low", "high"]].T.to_numpy() - own["ours"].to_numpy())
        axes.errorbar(
            own["ours"], range(len(ran)), xerr=errors, fmt="o", color=BLUE, markersize=5, capsize=3
        )
        axes.set(xlabel=label)
        axes.grid(axis="x", linewidth=0.4)
    panels[0].set_yticks(range(len(ran)), [METHODS[name].title for name in ran])
    panels[0].invert_yaxis()
    sns.despine(figure)
    return figure


def worst_cases(dsc: pd.DataFrame) -> Figure:
    """The mean DSC of cases (rows) by method (columns), in per cent. Failures are white."""
    figure, axes = plt.subplots(
        figsize=(PAGE_WIDTH * 0.85, 0.9 + 0.26 * len(dsc)), layout="constrained"
    )
    picture = axes.imshow(dsc, cmap="viridis", norm=Normalize(0, 100), aspect="auto")
    for (row, column), value in np.ndenumerate(dsc.to_numpy()):
        if np.isfinite(value):
            colour = "white" if value < 100 * FAILED else "black"
            axes.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(dsc.shape[1]), [METHODS[name].title for name in dsc.columns])
    axes.set_yticks(range(len(dsc)), list(dsc.index))
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    figure.colorbar(picture, ax=axes, label="mean DSC (%)", shrink=0.9)
    return figure


def taps(meeting: Mapping[tuple[str, int], np.ndarray]) -> Figure:
    """How many of the nine taps of an atrous kernel meet the map, at each pixel of the map.

    `meeting` maps an image's name and a rate to counts, (rows, columns). One row of panels per
    image, one column per rate.
    """
    images = list(dict.fromkeys(image for image, _ in meeting))
    rates = list(dict.fromkeys(rate for _, rate in meeting))
    figure, panels = plt.subplots(
        len(images),
        len(rates),
        figsize=(PAGE_WIDTH * 0.85, 2.6 * len(images)),
        squeeze=False,
        layout="constrained",
    )
    for row, image in zip(panels, images, strict=True):
        for axes, rate in zip(row, rates, strict=True):
            counts = meeting[image, rate]
            picture = axes.imshow(counts, cmap="viridis", norm=Normalize(1, 9))
            axes.set(xticks=[], yticks=[], title=f"rate {rate}: {counts.mean():.1f} of 9")
        row[0].set_ylabel(image)
    figure.colorbar(picture, ax=panels, label="taps that meet the map", shrink=0.8)
    return figure
