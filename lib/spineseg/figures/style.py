"""The style of all figures: sizes, colours, the line of each method, and how figures are saved."""

from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from spineseg.methods import METHODS, NOISE_METHODS
from spineseg.utils.files import atomic_write

# For a screen: 120 dots per inch make PAGE_WIDTH 1080 pixels, a notebook's width on a page of 1200.
COLUMN_WIDTH = 6.8  # inches, of figures with one panel
PAGE_WIDTH = 9.0
SMALL_TYPE = 9  # points, the smallest of any figure

# The palette of Okabe and Ito. Markers and line styles distinguish the methods without colour too.
METHOD_COLOURS = dict(
    zip(
        NOISE_METHODS,
        ("#56B4E9", "#999999", "#E69F00", "#009E73", "#CC79A7", "#000000", "#D55E00"),
        strict=True,
    )
)
METHOD_MARKERS = dict(zip(NOISE_METHODS, "svD^Po*", strict=True))

sns.set_theme(
    context="paper",
    style="ticks",
    rc={
        "font.size": 10,
        "axes.titlesize": 11,
        "axes.labelsize": 11,
        "xtick.labelsize": 10,
        "ytick.labelsize": 10,
        "legend.fontsize": 10,
        "legend.title_fontsize": 10,
        "legend.frameon": False,
        "lines.linewidth": 1.6,
        "lines.markersize": 6,
        "figure.dpi": 120,  # in notebooks
        "savefig.dpi": 120,  # of files
        "svg.hashsalt": "spineseg",
        "svg.fonttype": "none",
    },
)


def save(figure: Figure, path: Path) -> None:
    """Write `path` as .png and as .svg, without dates, so that equal figures give equal files."""
    for suffix, metadata in ((".png", {"Software": None}), (".svg", {"Date": None})):
        with atomic_write(path.with_suffix(suffix)) as temporary:
            figure.savefig(temporary, bbox_inches="tight", metadata=metadata)


def method_line(name: str) -> dict[str, Any]:
    """How a method is drawn in every figure, as arguments of `Axes.plot`."""
    return {
        "color": METHOD_COLOURS[name],
        "marker": METHOD_MARKERS[name],
        "markersize": 6,
        "linewidth": 1.6,
        "linestyle": "--" if METHODS[name].noise else "-",
        "label": METHODS[name].title,
    }


def log_scale(axes: Axes, which: str) -> None:
    """Make axis `which` ("x" or "y") logarithmic, with ticks at 1, 2 and 5 as plain numbers."""
    axes.set(**{f"{which}scale": "log"})
    axis = axes.xaxis if which == "x" else axes.yaxis
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_locator(NullLocator())
