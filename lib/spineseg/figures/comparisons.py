"""Methods side by side: scores, ablation, cost and receptive fields, beside the paper's numbers."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MultipleLocator

from spineseg.evaluation.metrics import iou_of
from spineseg.figures.style import COLUMN_WIDTH, PAGE_WIDTH, method_line
from spineseg.labels import ALL_CLASSES
from spineseg.methods import METHODS, PROPOSED

NOT_SEEN = "#DDDDDD"  # where the gradient is zero


def comparison(table3: pd.DataFrame, data: str) -> Figure:
    """Means of Table 3: the paper's, and ours on `data` with intervals over seeds and patients.

    `table3` is that of `paper.tables.beside_table3`.
    """
    rows = table3.query("metric == 'DSC'")
    rows = rows[rows["class"] == ALL_CLASSES]
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, _height(rows)), layout="constrained")
    _beside(axes, rows, data)
    _name_rows(axes, rows, [METHODS[name].title for name in rows["model"]])
    axes.set_xlabel("mean DSC (%)")
    _finish(figure)
    return figure


def ablation(rows: pd.DataFrame, data: str) -> Figure:
    """Rows of Table 2, the paper's and ours on `data` with 95 % intervals.

    Left the means, right the differences to ASPP-UNet on the same patients. `rows` is that of
    `paper.ablation.ablation_rows`.
    """
    (full,) = rows[rows["model"] == PROPOSED].to_dict("records")
    differences = rows.assign(
        paper=rows["paper"] - full["paper"],
        **{"ours": rows["above"], "low": rows["above_low"], "high": rows["above_high"]},
    )
    if pd.notna(full["ours"]):
        differences.loc[differences["model"] == PROPOSED, ["ours", "low", "high"]] = 0
    else:  # then `above` is above another network
        differences[["ours", "low", "high"]] = np.nan
    figure, (means, above) = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH, _height(rows)), sharey=True, layout="constrained"
    )
    above.axvline(0, color="gray", linewidth=0.8)
    _beside(means, rows, data)
    _beside(above, differences, data)
    _name_rows(means, rows, list(rows["positions"]))
    means.set(xlabel="mean DSC (%)", ylabel="positions with ASPP")
    above.set_xlabel(f"points of DSC above {full['positions']}")
    _finish(figure)
    return figure


def _height(rows: pd.DataFrame) -> float:
    """Inches."""
    return 1.2 + 0.38 * len(rows)


def _beside(axes: Axes, rows: pd.DataFrame, data: str) -> None:
    """One line per row: the paper's value as a diamond, ours as a dot with its interval."""
    heights = np.arange(len(rows))
    axes.errorbar(
        rows["ours"],
        heights,
        xerr=np.abs(rows[["low", "high"]].T - rows["ours"]),
        fmt="o",
        color="#0072B2",
        capsize=3,
        label=f"ours, {data}",
    )
    axes.plot(rows["paper"], heights, "D", color="#D55E00", label="paper, patients")
    axes.grid(axis="x", linewidth=0.6)


def _name_rows(axes: Axes, rows: pd.DataFrame, names: Sequence[str]) -> None:
    """Name the lines of `_beside` from above. Rows without ours are marked as not run."""
    ran = rows["ours"].notna()
    names = [name if run else f"{name} (not run)" for name, run in zip(names, ran, strict=True)]
    axes.set(yticks=np.arange(len(rows)), yticklabels=names, ylim=(len(rows) - 0.4, -0.6))


def _finish(figure: Figure) -> None:
    """One legend for all panels."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2)
    sns.despine(figure)


def convexity(table: pd.DataFrame) -> Figure:
    """Printed DSC and MIoU of each class, and the least MIoU that the DSC allows.

    `table` is that of `paper.consistency.convexity`.
    """
    figure, axes = plt.subplots(figsize=(COLUMN_WIDTH, 5), layout="constrained")
    dsc = pd.Series(np.linspace(66, 93))
    axes.plot(dsc, iou_of(dsc), color="black", linewidth=1.2, label="least MIoU: D / (2 - D)")
    cells = table[table["class"] != ALL_CLASSES]
    for holds, marker, colour, words in (
        (True, "o", "#0072B2", "a class, possible"),
        (False, "v", "#D55E00", "a class, below the curve"),
    ):
        part = cells[cells["holds"] == holds]
        label = f"{words} ({len(part)})"
        axes.scatter(part["DSC"], part["IoU"], 28, color=colour, marker=marker, label=label)
    headline = table[(table["class"] == ALL_CLASSES) & (table["model"] == METHODS[PROPOSED].title)]
    x, y = headline["DSC"], headline["IoU"]
    axes.scatter(x, y, 140, color="white", edgecolor="black", marker="*", label="the headline")
    axes.set(xlabel="printed DSC (%)", ylabel="printed MIoU (%)")
    axes.legend(loc="upper left")
    sns.despine(ax=axes)
    return figure


def cost(table: pd.DataFrame) -> Figure:
    """Time over arithmetic, both relative to U-Net-2D, for the paper and for ours.

    `table` is that of `paper.tables.beside_table4`. Networks on one line compute at the same rate:
    that of U-Net-2D, or twice that.
    """
    names = {method.title: name for name, method in METHODS.items()}
    figure, panels = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH, 4.8), sharex=True, layout="constrained"
    )
    most = 1.2 * table["gflops_ratio"].max()
    for axes, whose in zip(panels, ("paper", "ours"), strict=True):
        axes.axline((0, 0), slope=1, color="gray", linewidth=0.8, label="U-Net-2D's rate")
        axes.axline(
            (0, 0), slope=0.5, color="gray", linewidth=0.8, linestyle="--", label="twice the rate"
        )
        for row in table.dropna(subset="gflops_ratio").to_dict("records"):
            style = method_line(names[row["model"]]) | {"linestyle": "", "markersize": 9}
            axes.plot(row["gflops_ratio"], row[f"ratio_{whose}"], **style)
        axes.set(title=whose, xlabel="arithmetic / U-Net-2D's")
        axes.set(xlim=(0, most), ylim=(0, max(most, 1.1 * table[f"ratio_{whose}"].max())))
        axes.xaxis.set_major_locator(MultipleLocator(0.5))
    panels[0].set_ylabel("time / U-Net-2D's")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, handletextpad=0.4)
    sns.despine(figure)
    return figure


def receptive_fields(fields: Mapping[str, np.ndarray]) -> Figure:
    """How much the middle output pixel depends on each input pixel, one panel per network.

    `fields` maps titles to mean absolute gradients, (rows, columns).
    """
    figure, axes = plt.subplots(1, len(fields), figsize=(COLUMN_WIDTH, 5.2), layout="constrained")
    strongest = max(field.max() for field in fields.values())
    for axis, (name, field) in zip(axes, fields.items(), strict=True):
        drawn = np.ma.masked_equal(field, 0)
        norm = LogNorm(strongest * 1e-8, strongest)
        picture = axis.imshow(drawn, cmap="viridis", norm=norm)
        axis.set(title=name, xticks=[], facecolor=NOT_SEEN, xlabel=f"{field.shape[1]} columns")
        axis.set_yticks([0, field.shape[0] - 1], ["1", str(field.shape[0])])
    axes[0].set_ylabel("row")
    not_seen = plt.Rectangle((0, 0), 1, 1, color=NOT_SEEN, label="zero: not seen")
    figure.legend(handles=[not_seen], loc="outside lower center")
    figure.colorbar(picture, ax=axes, label="mean |gradient|", shrink=0.8)
    return figure
