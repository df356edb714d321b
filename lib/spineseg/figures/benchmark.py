"""Speed against other versions, and how time and memory grow with the work."""

import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from spineseg.figures.style import PAGE_WIDTH, log_scale
from spineseg.methods import METHODS

# A peer may have run in bf16 at one width and in float32 at another.
KIND_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7")
KIND_MARKERS = "osD^"
WORK_LINES = {
    "preprocessing": ("black", "D"),
    "inference": ("#0072B2", "o"),
    "training": ("#D55E00", "s"),
}


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
        figsize=(PAGE_WIDTH, 0.22 * sum(heights) + 0.8),
        height_ratios=heights,
        sharex=True,
        layout="constrained",
    )
    styles = [
        {"color": colour, "marker": marker, "linestyle": ""}
        for colour, marker in zip(KIND_COLOURS, KIND_MARKERS, strict=True)
    ]
    kinds = dict(zip(rows["kind"].unique(), styles, strict=False))
    for axes, part in zip(panels, parts, strict=True):
        shown = rows[rows["part"] == part]
        places = {label: -place for place, label in enumerate(shown["label"].unique())}
        for kind, style in kinds.items():
            points = shown[shown["kind"] == kind]
            middle = points["ratio"]
            spread = [middle - points["ratio_low"], points["ratio_high"] - middle]
            y = points["label"].map(places)
            axes.errorbar(middle, y, xerr=spread, label=kind, **style)
        axes.axvline(1, color="gray", linewidth=0.8)
        axes.set_yticks(list(places.values()), list(places))
        axes.set_title(part, loc="left")
        axes.set_ylim(min(places.values()) - 0.7, 0.7)
    panels[-1].set(xscale="log", xlabel="time / time of ours")
    panels[-1].set_xticks([1, 2, 3, 5, 10], ["1", "2", "3", "5", "10"])
    panels[-1].minorticks_off()
    handles = [plt.Line2D([], [], label=kind, **style) for kind, style in kinds.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(kinds))
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
        2, len(labels), figsize=(PAGE_WIDTH + 1, 5.2), sharex="col", layout="constrained"
    )
    quantities = {"seconds": "seconds per image or case", "memory_mib": "memory (MiB)"}
    for column, (axis, label) in enumerate(labels.items()):
        shown = table[table["axis"] == axis]
        for axes, quantity in zip(panels[:, column], quantities, strict=True):
            if shown[quantity].isna().all():
                axes.set_visible(False)
                continue
            work = shown["what"].str.split(",").str[0]  # of runs at once, it also names threads
            for what, line in shown.groupby(work, sort=False):
                colour, marker = WORK_LINES[str(what)]
                axes.plot(line["value"], line[quantity], color=colour, marker=marker, label=what)
            if axis in ("cases", "jobs"):
                axes.set_ylim(0, 1.2 * shown[quantity].max())
            else:
                log_scale(axes, "y")
            axes.set_xscale("log")
            axes.margins(x=0.1)
            axes.set_xticks(sorted(shown["value"].unique()), sorted(shown["value"].unique()))
            axes.minorticks_off()
            axes.tick_params(labelbottom=True)
            axes.set_xlabel(label)
    for axes, words in zip(panels[:, 0], quantities.values(), strict=True):
        axes.set_ylabel(words)
    handles = [
        plt.Line2D([], [], color=colour, marker=marker, label=what)
        for what, (colour, marker) in WORK_LINES.items()
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
    sns.despine(figure)
    return figure
