"""Slices with their classes in colour: Fig. 1, 5, 6 and 7, and examples of predictions."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from spineseg.figures.style import COLUMN_WIDTH, PAGE_WIDTH
from spineseg.labels import CLASSES, COLOURS, FOREGROUND
from spineseg.methods import METHODS, PROPOSED, TABLE3


def overlay(axes: Axes, image: np.ndarray, classes: np.ndarray | None, spacing: np.ndarray) -> None:
    """Draw a slice in gray with a scale bar of 50 mm, and over it the classes, if given.

    `image` (gray values 0..255) and `classes` (indices) are (rows, columns). `spacing` is that of
    rows and columns in mm.
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
    """Show the colours of the classes below a figure."""
    handles = [Patch(color=COLOURS[name], label=name) for name in names]
    figure.legend(handles=handles, loc="outside lower center", ncols=len(names), handlelength=1)


def labelled_slice(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 1 (a) without the crop: a slice, and the same slice with its classes.

    `example` is that of `data.overview.middle_slice`.
    """
    figure, axes = plt.subplots(
        1, 2, figsize=(PAGE_WIDTH * 0.8, PAGE_WIDTH * 0.45), layout="constrained"
    )
    overlay(axes[0], example["image"], None, example["spacing"])
    overlay(axes[1], example["image"], example["truth"], example["spacing"])
    class_legend(figure)
    return figure


def fig1(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 1: (a) the labels after the crop, (b) the original slice, (c) the cropped slice.

    `example` holds image, truth and spacing of a slice (see `overlay`), and `columns`: the first
    and last column that the crop keeps, as fractions (0..1) of the width of the target grid.
    """
    image, truth, spacing = example["image"], example["truth"], example["spacing"]
    rows, width = image.shape * spacing  # mm; the target grid is square
    side, before = max(rows, width), (max(rows, width) - width) / 2
    kept = [round((c * side - before) / spacing[1]) for c in example["columns"]]
    first, last = np.clip(kept, 0, image.shape[1]).tolist()
    widths = [last - first, image.shape[1], last - first]
    figure, axes = plt.subplots(
        1, 3, figsize=(PAGE_WIDTH, PAGE_WIDTH * 0.5), width_ratios=widths, layout="constrained"
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


def fig5(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 5: a slice as the network gets it, its labels, and the prediction (noise.npz)."""
    figure, axes = plt.subplots(1, 3, figsize=(COLUMN_WIDTH, 2.6), layout="constrained")
    parts = (None, example["truth"], example["predicted_0"])
    for axis, classes, title in zip(axes, parts, ("scan", "truth", "prediction"), strict=True):
        overlay(axis, example["image_0"], classes, example["spacing"])
        axis.set_title(title)
    class_legend(figure)
    return figure


def fig6(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 6: one slice with increasing noise, and the predictions below (noise.npz)."""
    levels = sorted(int(name.removeprefix("image_")) for name in example if "image_" in name)
    levels = [k for k in levels if k]
    figure, axes = plt.subplots(2, len(levels), figsize=(PAGE_WIDTH, 4.6), layout="constrained")
    for k, (above, below) in zip(levels, axes.T, strict=True):
        overlay(above, example[f"image_{k}"], None, example["spacing"])
        overlay(below, example[f"image_{k}"], example[f"predicted_{k}"], example["spacing"])
        above.set_title(f"k = {k}")
    class_legend(figure)
    return figure


def fig7(arrays: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 7: three cases with the predictions of each method of Table 3 (examples.npz).

    Each method is shown with its first seed.
    """
    ran = [name for name in TABLE3 if f"best_predicted_{name}" in arrays]
    return _cases(arrays, ran, [METHODS[name].title for name in ran])


def examples(arrays: Mapping[str, np.ndarray], model: str = PROPOSED) -> Figure:
    """The best, median and worst case: scan, truth, prediction of a method (examples.npz).

    The prediction is that of its first seed.
    """
    return _cases(arrays, [model], ["prediction"])


def _cases(
    arrays: Mapping[str, np.ndarray], models: Sequence[str], titles: Sequence[str]
) -> Figure:
    """One row per case, best first; columns: scan, truth, and the prediction of each model."""
    ranks = ("best", "median", "worst")
    columns = 2 + len(models)
    height, width = arrays["best_image"].shape * arrays["best_spacing"]
    inches = PAGE_WIDTH / max(columns, 4)
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
