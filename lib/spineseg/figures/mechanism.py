"""What ASPP adds to networks that see more or less of the image (`paper.mechanism`)."""

import math
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from spineseg.figures.style import COLUMN_WIDTH, METHOD_COLOURS, PAGE_WIDTH, SMALL_TYPE
from spineseg.labels import FOREGROUND
from spineseg.methods import CONTROL_DEPTH, METHODS, PLAIN, PROPOSED

NETWORKS = (PLAIN, PROPOSED)
SIZE_LINES = ("-", "--", ":")  # of images, the smallest first
SIZE_MARKERS = "osD"
SIZE_COLOURS = ("#0072B2", "#E69F00", "#009E73")


def lead_over_ratio(depths: pd.DataFrame, paper: tuple[float, float]) -> Figure:
    """DSC with and without ASPP, and the lead, over the share of the rows that U-Net-2D sees.

    `depths` holds the rows of `paper.mechanism.depth_table` of one or several image sizes, and
    `paper` the paper's share and lead (`paper.mechanism.paper_lead`). Bars are 95 % intervals.
    """
    paper_share, _ = paper
    figure, (dsc, lead) = plt.subplots(1, 2, figsize=(PAGE_WIDTH + 1, 4.4), layout="constrained")
    for number, (rows, size) in enumerate(depths.groupby("image_rows")):
        size = size.sort_values("ratio")
        line = {
            "linestyle": SIZE_LINES[number] if len(size) > 1 else "",
            "marker": SIZE_MARKERS[number],
            "capsize": 3,
        }
        for name in NETWORKS:
            label = f"{METHODS[name].title}, {rows} rows"
            # Both are seen where they are alike.
            marks = {"markerfacecolor": "none", "zorder": 3} if name == PLAIN else {}
            _curve(dsc, size, name, color=METHOD_COLOURS[name], label=label, **marks, **line)
        _curve(
            lead, size, "lead", color=SIZE_COLOURS[number], label=f"images of {rows} rows", **line
        )
    lead.axhline(0, color="gray", linewidth=0.8)
    lead.plot(*paper, "D", color="black", linestyle="", label="the paper, on its patients")
    for axes in (dsc, lead):
        axes.axvline(paper_share, color="gray", linewidth=0.8, linestyle=":")
        axes.axvline(1, color="gray", linewidth=0.8)
        axes.set(xscale="log", xlabel="rows that U-Net-2D sees (% of the image's rows)")
        axes.set_xticks([0.1, 0.25, 0.5, 1, 2], ["10", "25", "50", "100", "200"])
        axes.minorticks_off()
    dsc.set(ylabel="mean DSC (%)", ylim=(0, 100))
    lead.set(ylabel="lead of ASPP-UNet (points of DSC)")
    for axes in (dsc, lead):
        for ratio, words in ((paper_share, "the paper's share"), (1, "all rows")):
            axes.annotate(
                words,
                (ratio, 1),
                (4, 12),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                va="top",
                fontsize=SMALL_TYPE,
                color="dimgray",
            )
    dsc.legend(loc="lower right", frameon=True, framealpha=1, edgecolor="none")
    lead.legend(loc="upper right", frameon=True, framealpha=1, edgecolor="none")
    sns.despine(figure)
    return figure


def _curve(axes: Axes, table: pd.DataFrame, value: str, **style) -> None:
    """Means over the ratio, with their intervals."""
    errors = np.abs(table[[f"{value}_low", f"{value}_high"]].T.to_numpy() - table[value].to_numpy())
    axes.errorbar(table["ratio"], table[value], errors, elinewidth=1, **style)


def controls(table: pd.DataFrame) -> Figure:
    """How much each control network gains over U-Net-2D (`paper.control_networks.control_table`).

    The line is the lead of ASPP-UNet, the band its 95 % interval.
    """
    shown = table.dropna(subset="gain")
    lead = shown.iloc[-1]
    names = [METHODS[name].title for name in shown["model"]]
    heights = np.arange(len(shown))
    figure, axes = plt.subplots(figsize=(PAGE_WIDTH, 1.2 + 0.45 * len(shown)), layout="constrained")
    words = f"{METHODS[PROPOSED].title} with its interval"
    ends = lead["gain_low"], lead["gain_high"]
    axes.axvspan(*ends, color="#D55E00", alpha=0.15, linewidth=0, label=words)
    axes.axvline(lead["gain"], color="#D55E00", linewidth=0.8)
    colours = ["#0072B2"] * (len(shown) - 1) + ["#D55E00"]
    axes.barh(heights, shown["gain"], color=colours, height=0.6, alpha=0.8)
    errors = np.abs(shown[["gain_low", "gain_high"]].T.to_numpy() - shown["gain"].to_numpy())
    axes.errorbar(
        shown["gain"], heights, xerr=errors, fmt="none", ecolor="black", elinewidth=1.2, capsize=3
    )
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set(yticks=heights, yticklabels=names)
    axes.set_xlabel(f"gain over U-Net-2D with {CONTROL_DEPTH} stages (points of DSC)")
    axes.invert_yaxis()
    figure.legend(loc="outside lower center")
    sns.despine(ax=axes)
    return figure


def classes_by_depth(table: pd.DataFrame) -> Figure:
    """DSC by class and number of stages, without and with ASPP (`paper.by_class.class_table`)."""
    figure, panels = plt.subplots(
        1, len(NETWORKS), figsize=(PAGE_WIDTH + 1, 3.6), sharey=True, layout="constrained"
    )
    for axes, name in zip(panels, NETWORKS, strict=True):
        rows = table[table["network"] == name]
        values = rows.pivot(index="stages", columns="class", values="DSC")
        values = values[[each for each in FOREGROUND if each in values]]
        _heat_map(axes, values, METHODS[name].title, "{:.1f}")
        axes.set(xlabel="class, from the sacrum upwards", ylabel="")
    panels[0].set_ylabel("stages of the network")
    _colour_bar(figure, panels, "mean DSC (%)")
    return figure


def confusions(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """What networks call the voxels of each class, in per cent (`paper.by_class.shares`).

    `tables` maps titles to shares, one panel each, two in a row.
    """
    columns = min(len(tables), 2)
    rows = math.ceil(len(tables) / columns)
    size = (PAGE_WIDTH + 1 if columns > 1 else COLUMN_WIDTH, 0.4 + 3.8 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained")
    for axes in panels.flat[len(tables) :]:
        axes.set_visible(False)
    for axes, (title, shares) in zip(panels.flat, tables.items(), strict=False):
        present = [name for name in FOREGROUND if shares.loc[name].notna().any()]
        _heat_map(axes, shares.loc[present, [*present, "BG"]], title)
        axes.set_xticklabels([*present, "none"])
        axes.set(xlabel="name given (none: missed)", ylabel="")
    for axes in panels[:, 0]:
        axes.set_ylabel("true name")
    _colour_bar(figure, list(panels.flat), "share of the voxels (%)")
    return figure


def _heat_map(axes: Axes, values: pd.DataFrame, title: str, number: str = "{:.0f}") -> None:
    """Percentages as colours and as numbers. Numbers that round to 0 are left out."""
    axes.imshow(values, cmap="viridis", norm=Normalize(0, 100), aspect="auto")
    for (row, column), value in np.ndenumerate(values.to_numpy()):
        if np.isfinite(value) and round(value):
            colour = "black" if value > 60 else "white"
            words = number.format(value)
            axes.text(column, row, words, ha="center", va="center", color=colour)
    axes.set_xticks(range(len(values.columns)), list(values.columns))
    axes.set_yticks(range(len(values)), list(values.index))
    axes.set_title(title)
    axes.tick_params(length=0)


def _colour_bar(figure: Figure, panels: Sequence[Axes], label: str) -> None:
    figure.colorbar(panels[0].images[0], ax=panels, label=label, shrink=0.9)


def trained_fields(table: pd.DataFrame) -> Figure:
    """The rows that trained networks look at (`workflow.trained_fields`).

    One bar per network: the rows around the middle that hold half, 95 % and all of the gradient.
    """
    rows = table.pivot(index="model", columns="share", values="rows")
    rows = rows.loc[[name for name in METHODS if name in rows.index]]
    image = table["image_rows"].max()
    heights = np.arange(len(rows))
    figure, axes = plt.subplots(figsize=(PAGE_WIDTH, 1.4 + 0.28 * len(rows)), layout="constrained")
    shades = ("#DDDDDD", "#56B4E9", "#0072B2")
    for share, colour in zip(sorted(rows.columns, reverse=True), shades, strict=True):
        label = "all" if share == 1 else f"{100 * share:.0f} %"
        left = -rows[share] / 2
        axes.barh(heights, rows[share], 0.7, left, color=colour, label=label)
    for end in (-image / 2, image / 2):
        axes.axvline(end, color="black", linewidth=0.8)
    axes.set(yticks=heights, yticklabels=[METHODS[name].title for name in rows.index])
    axes.xaxis.set_major_formatter(lambda row, _: f"{abs(row):.0f}")
    axes.set_xlim(-image / 2, image / 2)
    axes.set(xlabel="distance from the middle row of the image, rows")
    axes.invert_yaxis()
    title = "rows that hold this share of the gradient"
    figure.legend(title=title, loc="outside upper right", ncols=3)
    sns.despine(ax=axes, left=True)
    return figure
