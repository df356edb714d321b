"""One function a figure; each takes data that lies in results/ and returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, LogNorm, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spineseg.evaluation.metrics import iou_of
from spineseg.labels import CLASSES, COLOURS, FOREGROUND
from spineseg.methods import NNUNET, NOISE, TABLE3, TITLES
from spineseg.utils.files import atomic_write

COLUMN = 3.5  # inches, a journal's column
PAGE = 7.2

# Okabe-Ito again; line styles and markers tell the methods apart without colour as well.
METHOD_COLOURS = dict(
    zip(
        NOISE,
        ("#56B4E9", "#999999", "#E69F00", "#009E73", "#CC79A7", "#000000", "#D55E00"),
        strict=True,
    )
)
METHOD_MARKERS = dict(zip(NOISE, "svD^Po*", strict=True))

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
        with atomic_write(path.with_suffix(suffix)) as temporary:
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


def fig1(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 1: (a) the labels after the crop, (b) the original slice, (c) the slice after the crop.

    `example` holds image, truth, spacing, and columns: the kept part of the unified width, 0..1.
    """
    image, truth, spacing = example["image"], example["truth"], example["spacing"]
    rows, width = image.shape * spacing  # mm; a scan that is not square was widened to one
    side, before = max(rows, width), (max(rows, width) - width) / 2
    kept = [round((c * side - before) / spacing[1]) for c in example["columns"]]
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
    np.random.seed(0)  # noqa: NPY002  (seaborn draws the jitter from there)
    sns.stripplot(**style, hue="class", palette=palette, size=2, alpha=0.6, legend=False)
    sns.boxplot(**style, showbox=False, showcaps=False, showfliers=False, whis=0, color="black")
    sns.despine(ax=axes)


def training(log: pd.DataFrame) -> Figure:
    """One model's loss an epoch in training and testing; the band spans the folds."""
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


def fig8(curves: pd.DataFrame) -> Figure:
    """Fig. 8: training loss an epoch of each method of Table 3 (mean over the folds)."""
    return _losses(curves, "train_loss", "training loss")


def fig9(curves: pd.DataFrame) -> Figure:
    """Fig. 9: loss on held-out slices an epoch of each method of Table 3 (mean over the folds)."""
    return _losses(curves, "test_loss", "testing loss")


def _losses(curves: pd.DataFrame, part: str, label: str) -> Figure:
    """nnU-Net has a panel of its own: its loss and its epochs are not those of the others."""
    means = curves.groupby(["model", "epoch"])[part].mean().dropna()
    ran = [name for name in TABLE3 if name in means.index.get_level_values("model")]
    groups = [[name for name in ran if name != NNUNET], [name for name in ran if name == NNUNET]]
    groups = [group for group in groups if group]
    figure, axes = plt.subplots(
        1,
        len(groups),
        figsize=(COLUMN * (0.4 + 0.6 * len(groups)), 2.6),
        width_ratios=[2, 1][: len(groups)],
        layout="constrained",
        squeeze=False,
    )
    for axis, group in zip(axes[0], groups, strict=True):
        for name in group:
            loss = means[name]
            axis.plot(loss.index, loss, **_style(name), markevery=max(1, len(loss) // 8))
        own = "cross-entropy + soft Dice" if group == [NNUNET] else "cross-entropy"
        axis.set(xlabel="epoch", ylabel=f"{label} ({own})")
        axis.legend()
        sns.despine(ax=axis)
    axes[0][0].set(yscale="log")
    return figure


def _style(name: str) -> dict[str, Any]:
    """The line of a method, the same in every figure."""
    return {
        "color": METHOD_COLOURS[name],
        "marker": METHOD_MARKERS[name],
        "markersize": 4,
        "linewidth": 1.2,
        "linestyle": "--" if name == "aspp_unet_noise" else "-",
        "label": TITLES[name],
    }


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
    axes.set(xlabel="", ylabel="DSC of a case (bar: median)", ylim=(0, 1))
    return figure


def examples(arrays: Mapping[str, np.ndarray], model: str = "aspp_unet") -> Figure:
    """The best, median and worst case of one method: scan, truth, prediction (examples.npz)."""
    return _cases(arrays, [model], ["prediction"])


def fig7(arrays: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 7: three cases as each method of Table 3 labels them (examples.npz)."""
    ran = [name for name in TABLE3 if f"best_predicted_{name}" in arrays]
    return _cases(arrays, ran, [TITLES[name] for name in ran])


def _cases(
    arrays: Mapping[str, np.ndarray], models: Sequence[str], titles: Sequence[str]
) -> Figure:
    """A row a case, best first; columns: scan, truth, and what each model made of it."""
    ranks = ("best", "median", "worst")
    columns = 2 + len(models)
    height, width = arrays["best_image"].shape * arrays["best_spacing"]
    inches = PAGE / max(columns, 4)
    figure, axes = plt.subplots(
        len(ranks),
        columns,
        figsize=(inches * columns, inches * len(ranks) * height / width + 0.6),
        layout="constrained",
    )
    for row, rank in zip(axes, ranks, strict=True):
        image, spacing = arrays[f"{rank}_image"], arrays[f"{rank}_spacing"]
        overlay(row[0], image, None, spacing)
        overlay(row[1], image, arrays[f"{rank}_truth"], spacing)
        row[0].set_ylabel(f"{rank}: {arrays[f'{rank}_case']}")
        for axis, model in zip(row[2:], models, strict=True):
            overlay(axis, image, arrays[f"{rank}_predicted_{model}"], spacing)
            axis.set_xlabel(f"DSC {arrays[f'{rank}_dsc_{model}']:.2f}")
    for axis, title in zip(axes[0], ("scan", "truth", *titles), strict=True):
        axis.set_title(title)
    class_legend(figure)
    return figure


def fig5(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 5: a slice as the network sees it, its labels, and the prediction (noise.npz)."""
    figure, axes = plt.subplots(1, 3, figsize=(COLUMN, 2.6), layout="constrained")
    parts = (None, example["truth"], example["predicted_0"])
    for axis, classes, title in zip(axes, parts, ("scan", "truth", "prediction"), strict=True):
        overlay(axis, example["image_0"], classes, example["spacing"])
        axis.set_title(title)
    class_legend(figure)
    return figure


def fig6(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 6: the same slice with more and more noise, and the predictions (noise.npz)."""
    levels = sorted(int(name.removeprefix("image_")) for name in example if "image_" in name)
    levels = [k for k in levels if k]
    figure, axes = plt.subplots(2, len(levels), figsize=(PAGE, 4.6), layout="constrained")
    for k, (above, below) in zip(levels, axes.T, strict=True):
        overlay(above, example[f"image_{k}"], None, example["spacing"])
        overlay(below, example[f"image_{k}"], example[f"predicted_{k}"], example["spacing"])
        above.set_title(f"k = {k}")
    class_legend(figure)
    return figure


def noise(curves: pd.DataFrame) -> Figure:
    """DSC over the level of noise, a line a method; bars are 95 % intervals (`noise_curves`)."""
    figure, axes = plt.subplots(figsize=(COLUMN, 3.2), layout="constrained")
    for name in (name for name in NOISE if name in set(curves["model"])):
        curve = curves[curves["model"] == name].sort_values("k")
        errors = np.abs(curve[["low", "high"]].T - curve["DSC"])
        axes.errorbar(curve["k"], curve["DSC"], errors, **_style(name), elinewidth=0.6, capsize=1.5)
    axes.set(xlabel="k (Eq. 5)", ylabel="mean DSC (%)", ylim=(0, 100))
    figure.legend(loc="outside lower center", ncols=2)
    sns.despine(ax=axes)
    return figure


def comparison(table3: pd.DataFrame, data: str, metric: str = "DSC") -> Figure:
    """Table 3's means: ours on `data` with 95 % intervals, and the paper's (`beside_table3`)."""
    rows = table3.query("metric == @metric and `class` == 'mean'")
    names = [TITLES[name] for name in rows["model"]]
    return _beside(rows, names, f"mean {metric} (%)", data)


def ablation(table2: pd.DataFrame, data: str, metric: str = "DSC") -> Figure:
    """Table 2's rows: ours on `data` with 95 % intervals, and the paper's (`beside_table2`)."""
    rows = table2.query("metric == @metric")
    return _beside(rows, list(rows["positions"]), f"mean {metric} (%)", data)


def _beside(rows: pd.DataFrame, names: Sequence[str], label: str, data: str) -> Figure:
    """One line a row of a table: the paper's value a diamond, ours a dot with its interval."""
    figure, axes = plt.subplots(figsize=(COLUMN, 0.8 + 0.26 * len(rows)), layout="constrained")
    heights = np.arange(len(rows))
    axes.errorbar(
        rows["ours"],
        heights,
        xerr=np.abs(rows[["low", "high"]].T - rows["ours"]),
        fmt="o",
        color="#0072B2",
        markersize=4,
        capsize=2,
        label=f"ours, {data}",
    )
    axes.plot(rows["paper"], heights, "D", color="#D55E00", markersize=4, label="paper, patients")
    axes.set(yticks=heights, yticklabels=names, xlabel=label)
    axes.invert_yaxis()
    axes.grid(axis="x", linewidth=0.4)
    figure.legend(loc="outside lower center", ncols=2)
    sns.despine(ax=axes)
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


def convexity(table: pd.DataFrame) -> Figure:
    """Printed DSC and MIoU of each class (`audit.convexity`) and the least MIoU the DSC allows."""
    figure, axes = plt.subplots(figsize=(COLUMN, 3.2), layout="constrained")
    dsc = pd.Series(np.linspace(66, 93))
    axes.plot(dsc, iou_of(dsc), color="black", linewidth=1, label="least MIoU: D / (2 - D)")
    cells = table[table["class"] != "mean"]
    for holds, marker, colour, words in (
        (True, "o", "#0072B2", "a class, possible"),
        (False, "v", "#D55E00", "a class, below the curve"),
    ):
        part = cells[cells["holds"] == holds]
        label = f"{words} ({len(part)})"
        axes.scatter(part["DSC"], part["IoU"], 14, color=colour, marker=marker, label=label)
    headline = table[(table["class"] == "mean") & (table["model"] == TITLES["aspp_unet"])]
    x, y = headline["DSC"], headline["IoU"]
    axes.scatter(x, y, 60, color="white", edgecolor="black", marker="*", label="the headline")
    axes.set(xlabel="printed DSC (%)", ylabel="printed MIoU (%)")
    axes.legend(loc="upper left")
    sns.despine(ax=axes)
    return figure


def cost(table: pd.DataFrame) -> Figure:
    """Time against arithmetic, both over U-Net-2D's (`cost.beside_table4`): paper and ours.

    On a line all networks compute at the same rate: as fast as U-Net-2D, or twice as fast.
    """
    names = {title: name for name, title in TITLES.items()}
    figure, panels = plt.subplots(
        1, 2, figsize=(COLUMN, 2.5), sharex=True, sharey=True, layout="constrained"
    )
    most = 1.1 * max(table[ratio].max() for ratio in ("gflops_ratio", "ratio_paper", "ratio_ours"))
    for axes, whose in zip(panels, ("paper", "ours"), strict=True):
        axes.axline((0, 0), slope=1, color="gray", linewidth=0.8, label="U-Net-2D's rate")
        axes.axline(
            (0, 0), slope=0.5, color="gray", linewidth=0.8, linestyle="--", label="twice the rate"
        )
        for row in table.dropna(subset="gflops_ratio").to_dict("records"):
            style = _style(names[row["model"]]) | {"linestyle": ""}
            axes.plot(row["gflops_ratio"], row[f"ratio_{whose}"], **style)
        axes.set(title=whose, xlabel="arithmetic / U-Net-2D's", box_aspect=1)
        axes.set(xlim=(0, most), ylim=(0, most))
    panels[0].set_ylabel("time / U-Net-2D's")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, handletextpad=0.4)
    sns.despine(figure)
    return figure


def speed(table: pd.DataFrame) -> Figure:
    """How many times as long as ours another version takes (benchmark/speed.csv), by part.

    Right of the line ours is faster; bars are the quartiles over the rounds.
    """
    rows = table[table["ratio"].notna() & ~table["version"].str.startswith("ours")].copy()
    is_plain = rows["version"].str.startswith("plain")
    rows["kind"] = rows["version"].str.rpartition(", ")[2].mask(is_plain, "its plain version")
    names = rows["what"].map(lambda name: TITLES.get(name, name), na_action="ignore")
    rows["label"] = names.fillna("nnU-Net") + " · " + rows["size"]
    parts = rows["part"].unique()
    heights = [rows[rows["part"] == part]["label"].nunique() + 1.5 for part in parts]
    figure, panels = plt.subplots(
        len(parts),
        1,
        figsize=(PAGE, 0.17 * sum(heights) + 0.6),
        height_ratios=heights,
        sharex=True,
        layout="constrained",
    )
    kinds = dict(zip(rows["kind"].unique(), ("#0072B2", "#E69F00", "#009E73"), strict=False))
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


def growth(table: pd.DataFrame) -> Figure:
    """Time of an image or case, and memory, as the work grows (benchmark/growth.csv)."""
    labels = {
        "cases": "cases",
        "rows": "rows of an image",
        "width": "channels of the first stage",
        "jobs": "runs at once",
    }
    figure, panels = plt.subplots(
        2, len(labels), figsize=(PAGE, 3.2), sharex="col", layout="constrained"
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
