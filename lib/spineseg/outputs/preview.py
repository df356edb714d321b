"""A picture of a mask: slices of the scan with the classes in colour and the names of levels."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import SimpleITK as sitk

from spineseg.data.gray import to_gray
from spineseg.data.padding import image_part
from spineseg.labels import CLASSES, COLOURS, FOREGROUND
from spineseg.outputs.own import MARK
from spineseg.utils.files import atomic_write

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_SLICES = 8
PANELS_PER_ROW = 4
PANEL_INCHES = 3.6  # the longer side of a panel
GAP_INCHES, TITLE_INCHES = 0.04, 0.2  # between panels, and above each
HEAD_INCHES, FOOT_INCHES = 0.5, 0.4  # for the title and the legend
LEAST_WIDTH_INCHES = 8.0
DPI = 130
OPACITY = 0.45
BAR_MM = 50.0
LEGEND = "slices from right to left; H head, F feet, A front, P back"
PERCENTILES = (1, 98.5)  # of the shown slices: black and white
MIN_NAMED_SHARE = 0.15  # of a level's largest area; a smaller piece gets no name


def write_preview(
    path: Path, scan: sitk.Image, classes: np.ndarray, title: str, subtitle: str
) -> None:
    """Draw slices of a canonical scan with their classes (slices, rows, columns), as PNG.

    Up to eight slices, evenly spaced over those with labels, run from the patient's right to left.
    Lengths are true in mm. Head is up, front is left. Raises UserError if it cannot be written.
    """
    figure = _draw(scan, classes, title, subtitle)
    with warnings.catch_warnings(action="ignore"), atomic_write(path) as temporary:
        # a name may hold letters that the font lacks
        figure.savefig(temporary, format="png", dpi=DPI, metadata={"Software": MARK})
    figure.clear()  # frees the pictures, which refer to each other


def shown_slices(classes: np.ndarray) -> list[int]:
    """The slices to show: evenly spaced over those with labels, or over all if there are none."""
    labelled = np.flatnonzero(classes.any((1, 2)))
    first, last = (labelled[0], labelled[-1]) if len(labelled) else (0, len(classes) - 1)
    count = min(MOST_SLICES, last - first + 1)
    return np.unique(np.rint(np.linspace(first, last, count)).astype(int)).tolist()


def _draw(scan: sitk.Image, classes: np.ndarray, title: str, subtitle: str) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    slices = shown_slices(classes)
    values = sitk.GetArrayViewFromImage(scan)[slices]
    gray = to_gray(values, *_black_and_white(scan, slices))
    spacing = scan.GetSpacing()[1], scan.GetSpacing()[0]  # of rows and columns
    height, width = (count * mm for count, mm in zip(gray.shape[1:], spacing, strict=True))
    figure, panels = _panels(len(slices), height, width)
    FigureCanvasAgg(figure)
    areas = _largest_areas(classes)
    for axes, index, image in zip(panels, slices, gray, strict=True):
        _panel(axes, image, classes[index], spacing, areas)
        axes.set_title(f"slice {index + 1} of {len(classes)}", color="white", fontsize=8)
    _directions(panels[0])
    _scale_bar(panels[0], height, width)
    top = 1 - GAP_INCHES / figure.get_figheight()
    settings: dict[str, Any] = {"color": "white", "fontsize": 8, "ha": "center", "va": "top"}
    figure.text(0.5, top, f"{title}\n{subtitle}", wrap=True, parse_math=False, **settings)
    _legend(figure, [name for name in FOREGROUND if areas[CLASSES.index(name)]])
    return figure


def _black_and_white(scan: sitk.Image, slices: list[int]) -> tuple[float, float]:
    """The values of these slices to show as black and white; padding has no say."""
    values = sitk.GetArrayViewFromImage(scan)[slices]
    if part := image_part(scan):
        inside = values[np.array([part.in_slice(index) for index in slices])]
        values = inside if inside.size else values
    low, high = np.percentile(values, PERCENTILES)
    return low, (high if high > low else low + 1)


def _panels(count: int, height: float, width: float) -> tuple[Figure, list[Axes]]:
    """A black figure with `count` panels in rows, each for height x width mm of a scan."""
    from matplotlib.figure import Figure

    scale = PANEL_INCHES / max(height, width)
    panel = np.array([width, height]) * scale  # inches
    columns = min(PANELS_PER_ROW, count)
    rows = math.ceil(count / columns)
    step = panel + np.array([GAP_INCHES, GAP_INCHES + TITLE_INCHES])
    used = step * [columns, rows] + [GAP_INCHES, 0]
    size = np.array([max(used[0], LEAST_WIDTH_INCHES), used[1] + HEAD_INCHES + FOOT_INCHES])
    figure = Figure(figsize=tuple(size), facecolor="black")
    left = (size[0] - used[0]) / 2 + GAP_INCHES
    axes = []
    for index in range(count):
        row, column = divmod(index, columns)
        corner = np.array([left + column * step[0], size[1] - HEAD_INCHES - (row + 1) * step[1]])
        axes.append(figure.add_axes((*(corner / size), *(panel / size))))
    return figure, axes


def _largest_areas(classes: np.ndarray) -> np.ndarray:
    """The largest area of each class in any slice, in pixels."""
    counts = [np.bincount(plane.ravel(), minlength=len(CLASSES)) for plane in classes]
    return np.max(counts, axis=0)


def _panel(
    axes: Axes,
    image: np.ndarray,
    classes: np.ndarray,
    spacing: tuple[float, float],
    areas: np.ndarray,
) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap, to_rgba

    extent = (0.0, image.shape[1] * spacing[1], image.shape[0] * spacing[0], 0.0)
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="bilinear")
    colours = [to_rgba(COLOURS[name], 0.0 if name == "BG" else OPACITY) for name in CLASSES]
    limits = np.arange(len(CLASSES) + 1) - 0.5
    axes.imshow(
        classes,
        cmap=ListedColormap(colours),
        norm=BoundaryNorm(limits, len(CLASSES)),
        extent=extent,
        interpolation="nearest",
    )
    axes.set(xticks=[], yticks=[], xlim=extent[:2], ylim=extent[2:])
    for index in np.unique(classes[classes > 0]).tolist():
        pixels = np.argwhere(classes == index)
        if len(pixels) >= MIN_NAMED_SHARE * areas[index]:
            row, column = (np.median(pixels, axis=0) + 0.5) * spacing
            _text(axes, column, row, CLASSES[index], ha="center", va="center", weight="bold")


def _text(axes: Axes, x: float, y: float, text: str, **settings: Any) -> None:
    """White text with a black outline, which shows on every gray and colour."""
    from matplotlib.patheffects import withStroke

    outline = [withStroke(linewidth=1.8, foreground="black")]
    axes.text(x, y, text, color="white", fontsize=8, path_effects=outline, **settings)


def _directions(axes: Axes) -> None:
    """Where the patient's head (H), feet (F), front (A) and back (P) are."""
    for x, y, letter in ((0.5, 0.97, "H"), (0.5, 0.03, "F"), (0.03, 0.5, "A"), (0.97, 0.5, "P")):
        place = {"ha": "center", "va": "center", "transform": axes.transAxes}
        _text(axes, x, y, letter, **place)


def _scale_bar(axes: Axes, height: float, width: float) -> None:
    x, y = width * 0.05, height * 0.96
    axes.plot([x, x + BAR_MM], [y, y], color="white", linewidth=2, solid_capstyle="butt")
    _text(axes, x, y - height * 0.015, f"{BAR_MM:g} mm", va="bottom")


def _legend(figure: Figure, names: list[str]) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=COLOURS[name], label=name) for name in names]
    handles.append(Patch(alpha=0, label=LEGEND))
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(handles),
        handlelength=1,
        columnspacing=1,
        fontsize=8,
        labelcolor="white",
        frameon=False,
    )
