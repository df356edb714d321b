"""Slices with their classes in colour: Fig. 1, 5, 6 and 7, and examples of predictions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.patheffects import withStroke

from spineseg.figures.style import COLUMN_WIDTH, PAGE_WIDTH, SMALL_TYPE
from spineseg.labels import CLASSES, COLOURS, FOREGROUND
from spineseg.methods import METHODS, TABLE3_METHODS

SCALE_BAR = 50  # mm
MARGIN = 15  # mm, around the labels of a cropped slice
TALLEST = 2.3  # inches, of a cropped slice
NARROW = 6  # inches, the width that a legend of all classes in one row needs
ON_GRAY: dict[str, Any] = {
    "color": "white",
    "path_effects": [withStroke(linewidth=2, foreground="black")],
}


def overlay(
    axes: Axes,
    image: np.ndarray,
    classes: np.ndarray | None,
    spacing: np.ndarray,
    scale_bar: bool = True,
    names: bool = False,
) -> None:
    """Draw a slice in gray, and over it the classes, if given.

    `image` (gray values 0..255) and `classes` (indices) are (rows, columns). `spacing` is that of
    rows and columns in mm. The scale bar is 50 mm long. `names` writes the name of each class on
    its largest part.
    """
    extent = (0.0, image.shape[1] * spacing[1], image.shape[0] * spacing[0], 0.0)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
    if classes is not None:
        colours = [to_rgba(COLOURS[name], 0.0 if name == "BG" else 0.55) for name in CLASSES]
        axes.imshow(
            classes,
            cmap=ListedColormap(colours),
            norm=BoundaryNorm(np.arange(len(CLASSES) + 1) - 0.5, len(CLASSES)),
            extent=extent,
            interpolation="nearest",
        )
        if names:
            _names(axes, classes, spacing)
    if scale_bar:
        _scale_bar(axes, extent)
    axes.set(xticks=[], yticks=[])
    sns.despine(ax=axes, left=True, bottom=True)


def _scale_bar(axes: Axes, extent: tuple[float, float, float, float]) -> None:
    x, y = extent[1] * 0.05, extent[2] * 0.96
    axes.plot([x, x + SCALE_BAR], [y, y], linewidth=2.5, solid_capstyle="butt", **ON_GRAY)
    above = y - extent[2] * 0.015
    axes.text(x, above, f"{SCALE_BAR} mm", fontsize=SMALL_TYPE, va="bottom", **ON_GRAY)


def _names(axes: Axes, classes: np.ndarray, spacing: np.ndarray) -> None:
    """Write the name of each class in the middle of its largest connected part."""
    from scipy import ndimage  # slow to import

    style = ON_GRAY | {"fontsize": SMALL_TYPE, "ha": "center", "va": "center"}
    for index in (each for each in np.unique(classes) if CLASSES[each] in FOREGROUND):
        parts, _ = ndimage.label(classes == index)
        largest = np.bincount(parts.ravel())[1:].argmax() + 1
        row, column = (np.argwhere(parts == largest).mean(axis=0) + 0.5) * spacing
        axes.text(column, row, CLASSES[index], **style)


def _window(truth: np.ndarray, shape: np.ndarray) -> tuple[slice, slice]:
    """The part of a slice of `shape` (rows, columns) around its labels, within the slice."""
    window = []
    for axis, size in enumerate(shape):
        seen = np.flatnonzero(truth.any(axis=1 - axis))
        first, last = (seen[0], seen[-1] + 1) if seen.size else (0, truth.shape[axis])
        start = np.clip((first + last - size) // 2, 0, max(truth.shape[axis] - size, 0))
        window.append(slice(int(start), int(start) + size))
    return window[0], window[1]


def class_legend(figure: Figure) -> None:
    """Show the colours of the classes below a figure, in two rows if it is narrow."""
    handles = [Patch(color=COLOURS[name], label=name) for name in FOREGROUND]
    columns = len(handles) if figure.get_figwidth() > NARROW else math.ceil(len(handles) / 2)
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, handlelength=1)


def labelled_slice(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 1 (a) without the crop: a slice, and the same slice with its classes.

    `example` is that of `data.overview.middle_slice`.
    """
    figure, axes = plt.subplots(1, 2, figsize=(PAGE_WIDTH, PAGE_WIDTH * 0.54), layout="constrained")
    overlay(axes[0], example["image"], None, example["spacing"])
    overlay(axes[1], example["image"], example["truth"], example["spacing"], names=True)
    class_legend(figure)
    return figure


def enlarged(fitted: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """True masks, and below each the labels that an enlarged map can give at best.

    `fitted` has an example for each title: image, truth, predicted and spacing of a slice (see
    `overlay`).
    """
    figure, axes = plt.subplots(
        2, len(fitted), figsize=(COLUMN_WIDTH, PAGE_WIDTH), layout="constrained", squeeze=False
    )
    for (title, example), (above, below) in zip(fitted.items(), axes.T, strict=True):
        for axis, part in ((above, "truth"), (below, "predicted")):
            overlay(axis, example["image"], example[part], example["spacing"], axis is above)
        above.set_title(title)
    for axis, name in zip(axes[:, 0], ("truth", "fitted labels"), strict=True):
        axis.set_ylabel(name)
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
        1, 3, figsize=(PAGE_WIDTH + 1, PAGE_WIDTH * 0.55), width_ratios=widths, layout="constrained"
    )
    overlay(axes[0], image[:, first:last], truth[:, first:last], spacing, names=True)
    overlay(axes[1], image, None, spacing)
    for edge in (first, last):
        axes[1].axvline(edge * spacing[1], color="#E69F00", linewidth=2, linestyle="--")
    overlay(axes[2], image[:, first:last], None, spacing)
    for axis, letter, text in zip(axes, "abc", ("labels", "original", "cropped"), strict=True):
        axis.set_title(f"({letter}) {text}")
    class_legend(figure)
    return figure


def fig5(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 5: a slice as the network gets it, its labels, and the prediction (noise.npz)."""
    figure, axes = plt.subplots(1, 3, figsize=(COLUMN_WIDTH, 4.4), layout="constrained")
    parts = (None, example["truth"], example["predicted_0"])
    for axis, classes, title in zip(axes, parts, ("scan", "truth", "prediction"), strict=True):
        overlay(axis, example["image_0"], classes, example["spacing"], names=title == "truth")
        axis.set_title(title)
    class_legend(figure)
    return figure


def fig6(example: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 6: one slice with increasing noise, and the predictions below (noise.npz)."""
    levels = sorted(int(name.removeprefix("image_")) for name in example if "image_" in name)
    levels = [k for k in levels if k]
    figure, axes = plt.subplots(2, len(levels), figsize=(PAGE_WIDTH, 6.6), layout="constrained")
    for k, (above, below) in zip(levels, axes.T, strict=True):
        image, spacing = example[f"image_{k}"], example["spacing"]
        overlay(above, image, None, spacing, scale_bar=k == levels[0])
        overlay(below, image, example[f"predicted_{k}"], spacing, scale_bar=False)
        above.set_title(f"k = {k}")
    class_legend(figure)
    return figure


def fig7(arrays: Mapping[str, np.ndarray]) -> Figure:
    """Fig. 7: three cases with the predictions of each method of Table 3 (examples.npz).

    Each method is shown with its first seed.
    """
    ran = [name for name in TABLE3_METHODS if f"best_predicted_{name}" in arrays]
    return _cases(arrays, ran, [METHODS[name].title for name in ran])


def examples(arrays: Mapping[str, np.ndarray], model: str) -> Figure:
    """The best, median and worst case: scan, truth, prediction of a method (examples.npz).

    The prediction is that of its first seed.
    """
    return _cases(arrays, [model], ["prediction"])


def _cases(
    arrays: Mapping[str, np.ndarray], models: Sequence[str], titles: Sequence[str]
) -> Figure:
    """One row per case, best first; columns: scan, truth, and the prediction of each model.

    All slices are cropped to the labels of the truth and `MARGIN`, with one size for all cases.
    Below a prediction is the DSC of the whole volume, not of the slice.
    """
    ranks = ("best", "median", "worst")
    columns = 2 + len(models)
    size = np.max(
        [_extent(arrays[f"{rank}_truth"], arrays[f"{rank}_spacing"]) for rank in ranks], 0
    )
    height, width = size * min(TALLEST / size[0], PAGE_WIDTH / columns / size[1])  # inches
    figure, axes = plt.subplots(
        len(ranks),
        columns,
        figsize=((width + 0.15) * columns + 0.4, (height + 0.3) * len(ranks) + 0.7),
        layout="constrained",
    )
    for row, rank in zip(axes, ranks, strict=True):
        image, truth = arrays[f"{rank}_image"], arrays[f"{rank}_truth"]
        spacing = arrays[f"{rank}_spacing"]
        shape = np.minimum(np.ceil(size / spacing).astype(int), image.shape)
        window = _window(truth, shape)
        overlay(row[0], image[window], None, spacing)
        overlay(row[1], image[window], truth[window], spacing, scale_bar=False, names=True)
        row[0].set_ylabel(f"{rank}: {arrays[f'{rank}_case']}")
        for axis, model in zip(row[2:], models, strict=True):
            predicted = arrays[f"{rank}_predicted_{model}"][window]
            overlay(axis, image[window], predicted, spacing, scale_bar=False)
            axis.set_xlabel(f"DSC {100 * arrays[f'{rank}_dsc_{model}']:.0f} %\n(volume)")
    for axis, title in zip(axes[0], ("scan", "truth", *titles), strict=True):
        axis.set_title(title)
    class_legend(figure)
    return figure


def _extent(truth: np.ndarray, spacing: np.ndarray) -> np.ndarray:
    """Height and width in mm of the labels with `MARGIN`, or of a slice without labels."""
    if not truth.any():
        return np.array(truth.shape) * spacing
    seen = [np.flatnonzero(truth.any(axis=1 - axis)) for axis in (0, 1)]
    pixels = [each[-1] + 1 - each[0] for each in seen]
    return np.array(pixels) * spacing + 2 * MARGIN
