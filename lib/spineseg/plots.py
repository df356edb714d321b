"""One function a figure; each takes data that lies in results/ and returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spineseg.files import whole_file
from spineseg.labels import CLASSES, COLOURS, FOREGROUND

COLUMN = 3.5  # inches, a journal's column
PAGE = 7.2

sns.set_theme(
    context="paper",
    style="ticks",
    rc={
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.labelsize": 8,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "savefig.dpi": 200,
        "svg.hashsalt": "spineseg",
        "svg.fonttype": "none",
    },
)


def save(figure: Figure, path: Path) -> None:
    """Write `path` as .png and as .svg, without the date, so that equal figures are equal files."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        with whole_file(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, bbox_inches="tight", metadata=metadata)


def overlay(axes: Axes, image: np.ndarray, classes: np.ndarray | None, spacing: np.ndarray) -> None:
    """Draw one slice in gray, its classes (if any) in colour over it, and a bar of 50 mm.

    image and classes are (rows, columns); spacing is (row, column) in mm.
    """
    extent = (0.0, image.shape[1] * spacing[1], image.shape[0] * spacing[0], 0.0)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    if classes is not None:
        colours = [to_rgba(COLOURS[name], 0.0 if name == "BG" else 0.55) for name in CLASSES]
        axes.imshow(
            classes,
            cmap=ListedColormap(colours),
            norm=BoundaryNorm(np.arange(len(CLASSES) + 1) - 0.5, len(CLASSES)),
            extent=extent,
            interpolation="nearest",
        )
    _scale_bar(axes, extent)
    axes.set(xticks=[], yticks=[])
    sns.despine(ax=axes, left=True, bottom=True)


def _scale_bar(axes: Axes, extent: tuple[float, float, float, float], length: float = 50) -> None:
    x, y = extent[1] * 0.05, extent[2] * 0.96
    axes.plot([x, x + length], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    axes.text(x, y - extent[2] * 0.015, f"{length:g} mm", color="white", fontsize=6, va="bottom")


def class_legend(figure: Figure, names: Sequence[str] = FOREGROUND) -> None:
    """The classes' colours, below the figure."""
    handles = [Patch(color=COLOURS[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names), handlelength=1)


def labelled_slice(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 1 (a), uncropped: one slice and its classes (`explore.middle_slice`)."""
    figure, axes = plt.subplots(1, 2, figsize=(PAGE * 0.8, PAGE * 0.45), layout="constrained")
    overlay(axes[0], example["image"], None, example["spacing"])
    overlay(axes[1], example["image"], example["truth"], example["spacing"])
    class_legend(figure)
    return figure


def fig1(example: Mapping[str, np.ndarray], columns: tuple[float, float]) -> Figure:
    """Fig. 1: (a) the labels after the crop, (b) the original slice, (c) the slice after the crop.

    `example` holds image, truth, spacing; `columns` the kept part of the unified width, 0..1.
    """
    image, truth, spacing = example["image"], example["truth"], example["spacing"]
    rows, width = image.shape * spacing  # mm; a scan that is not square was widened to one
    side, before = max(rows, width), (max(rows, width) - width) / 2
    kept = [round((c * side - before) / spacing[1]) for c in columns]
    first, last = np.clip(kept, 0, image.shape[1]).tolist()
    widths = [last - first, image.shape[1], last - first]
    figure, axes = plt.subplots(
        1, 3, figsize=(PAGE, PAGE * 0.5), width_ratios=widths, layout="constrained"
    )
    overlay(axes[0], image[:, first:last], truth[:, first:last], spacing)
    overlay(axes[1], image, None, spacing)
    for edge in (first, last):
        axes[1].axvline(edge * spacing[1], color="#E69F00", linewidth=1, linestyle="--")
    overlay(axes[2], image[:, first:last], None, spacing)
    for axis, letter, text in zip(axes, "abc", ("labels", "original", "cropped"), strict=True):
        axis.set_title(f"({letter}) {text}")
    class_legend(figure)
    return figure


def intensities(measured: pd.DataFrame) -> Figure:
    """Mean gray of each class, one point a case (`explore.measure_cases`)."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.4), layout="constrained")
    _strip(axes, measured, "gray_mean", CLASSES)
    axes.set(xlabel="", ylabel="mean gray (0-255)", ylim=(0, 255))
    return figure


def class_sizes(measured: pd.DataFrame) -> Figure:
    """Volume of each class in a case, in mL."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.4), layout="constrained")
    _strip(axes, measured, "volume_ml", FOREGROUND)
    axes.set(xlabel="", ylabel="volume (mL)", ylim=(0, None))
    return figure


def _strip(axes: Axes, table: pd.DataFrame, value: str, names: Sequence[str]) -> None:
    """One point a case, the median as a bar."""
    present = [name for name in names if name in set(table["class"])]
    table = table[table["class"].isin(present)]
    style = {"data": table, "x": "class", "y": value, "order": present, "ax": axes}
    palette = {name: COLOURS[name] for name in present}
    sns.stripplot(**style, hue="class", palette=palette, size=2, alpha=0.6, legend=False)
    sns.boxplot(**style, showbox=False, showcaps=False, showfliers=False, whis=0, color="black")
    sns.despine(ax=axes)


def curves(log: pd.DataFrame) -> Figure:
    """Fig. 8 and 9: loss an epoch in training and testing; the band spans the folds."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.4), layout="constrained")
    long = log.melt(["epoch", "fold"], ["train_loss", "test_loss"], "part", "loss").dropna()
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
    axes.set(xlabel="epoch", ylabel="cross-entropy", ylim=(0, None))
    axes.legend(title=None)
    sns.despine(ax=axes)
    return figure


def scores_by_class(scores: pd.DataFrame, printed: pd.DataFrame | None = None) -> Figure:
    """DSC of each case and class; diamonds mark the paper's means (`paper.table3`) if given."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.6), layout="constrained")
    volumes = scores.query("aggregation == 'volume' and metric == 'DSC'")
    _strip(axes, volumes, "value", FOREGROUND)
    if printed is not None:
        means = printed.query("metric == 'DSC'").set_index("class")["mean"] / 100
        names = [label.get_text() for label in axes.get_xticklabels()]
        axes.plot(names, means[names], "D", color="black", markersize=3, label="paper, patients")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0))
    axes.set(xlabel="", ylabel="DSC", ylim=(0, 1))
    return figure


def examples(arrays: Mapping[str, np.ndarray]) -> Figure:
    """The best, median and worst case: scan, truth, prediction (`evaluate_run`'s examples.npz)."""
    ranks = ("best", "median", "worst")
    figure, axes = plt.subplots(3, 3, figsize=(PAGE * 0.75, PAGE * 0.85), layout="constrained")
    for row, rank in zip(axes, ranks, strict=True):
        image, spacing = arrays[f"{rank}_image"], arrays[f"{rank}_spacing"]
        for axis, part in zip(row, (None, "truth", "predicted"), strict=True):
            overlay(axis, image, arrays[f"{rank}_{part}"] if part else None, spacing)
        row[0].set_ylabel(f"{rank}: {arrays[f'{rank}_case']}\nDSC {arrays[f'{rank}_dsc']:.2f}")
    for axis, title in zip(axes[0], ("scan", "truth", "prediction"), strict=True):
        axis.set_title(title)
    class_legend(figure)
    return figure


def receptive_fields(fields: Mapping[str, np.ndarray]) -> Figure:
    """How much the middle output pixel depends on each input pixel, one panel a network."""
    figure, axes = plt.subplots(1, len(fields), figsize=(COLUMN, 2.8), layout="constrained")
    strongest = max(field.max() for field in fields.values())
    for axis, (name, field) in zip(axes, fields.items(), strict=True):
        drawn = np.ma.masked_equal(field, 0)
        norm = LogNorm(strongest * 1e-8, strongest)
        picture = axis.imshow(drawn, cmap="viridis", norm=norm)
        axis.set(title=name, xticks=[], yticks=[], facecolor="#DDDDDD")
    figure.colorbar(picture, ax=axes, label="mean |gradient|", shrink=0.8)
    return figure
