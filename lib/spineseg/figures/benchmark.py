"""Speed against other versions, and how time and memory grow with the work."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from spineseg.figures.style import PAGE_WIDTH
from spineseg.methods import METHODS

# A peer may have run in bf16 at one width and in float32 at another.
KIND_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")


def speed(table: pd.DataFrame) -> Figure:
    """Time of other versions relative to ours, by part (speed.csv of the benchmark).

    Ours is faster to the right of the line. Bars span the quartiles over the rounds.
    """
    rows = table[table["ratio"].notna() & ~table["version"].str.startswith("ours")].copy()
    is_plain = rows["version"].str.startswith("plain")
    rows["kind"] = rows["version"].str.rpartition(", ")[2].mask(is_plain, "its plain version")
    names = rows["what"].map(_title, na_action="ignore")
    rows["label"] = names.fillna("nnU-Net") + " · " + rows["size"]
    parts = rows["part"].unique()
    heights = [rows[rows["part"] == part]["label"].nunique() + 1.5 for part in parts]
    figure, panels = plt.subplots(
        len(parts),
        1,
        figsize=(PAGE_WIDTH, 0.17 * sum(heights) + 0.6),
        height_ratios=heights,
        sharex=True,
        layout="constrained",
    )
    kinds = dict(zip(rows["kind"].unique(), KIND_COLOURS, strict=False))
    for axes, part in zip(panels, parts, strict=True):
        shown = rows[rows["part"] == part]
        places = {label: -place for place, label in enumerate(shown["label"].unique())}
        for kind, colour in kinds.items():
            points = shown[shown["kind"] == kind]
            middle = points["ratio"]
            spread = [middle - points["ratio_low"], points["ratio_high"] - middle]
            y = points["label"].map(places)
            axes.errorbar(middle, y, xerr=spread, fmt="o", color=colour, markersize=4, label=kind)
        axes.axvline(1, color="gray", linewidth=0.8)
        axes.set_yticks(list(places.values()), list(places))
        axes.set_title(part, loc="left")
        axes.set_ylim(min(places.values()) - 0.7, 0.7)
    panels[-1].set(xscale="log", xlabel="time / time of ours")
    panels[-1].set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
    panels[-1].minorticks_off()
    handles = {
        kind: plt.Line2D([], [], marker="o", linestyle="", color=c) for kind, c in kinds.items()
    }
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3)
    sns.despine(figure)
    return figure


def _title(name: str) -> str:
    return METHODS[name].title if name in METHODS else name


def growth(table: pd.DataFrame) -> Figure:
    """Time per image or case, and memory, as the work grows (growth.csv of the benchmark)."""
    labels = {
        "cases": "cases",
        "rows": "rows of an image",
        "width": "channels of the first stage",
        "jobs": "runs at once",
    }
    figure, panels = plt.subplots(
        2, len(labels), figsize=(PAGE_WIDTH, 3.2), sharex="col", layout="constrained"
    )
    quantities = {"seconds": "seconds each", "memory_mib": "memory, MiB"}
    for column, (axis, label) in enumerate(labels.items()):
        shown = table[table["axis"] == axis]
        for axes, quantity in zip(panels[:, column], quantities, strict=True):
            if shown[quantity].isna().all():
                axes.set_visible(False)
                continue
            lines = shown.groupby("what", sort=False) if axis != "jobs" else [(None, shown)]
            for what, line in lines:
                axes.plot(line["value"], line[quantity], "o-", markersize=3, label=what)
            axes.set_xscale("log")
            if axis in ("cases", "jobs"):
                axes.set_ylim(bottom=0)
            else:
                axes.set_yscale("log")
            axes.set_xticks(sorted(shown["value"].unique()), sorted(shown["value"].unique()))
            axes.minorticks_off()
        last = panels[1, column] if panels[1, column].get_visible() else panels[0, column]
        last.set_xlabel(label)
        last.tick_params(labelbottom=True)
    for axes, words in zip(panels[:, 0], quantities.values(), strict=True):
        axes.set_ylabel(words)
    panels[0, 1].legend()
    sns.despine(figure)
    return figure
