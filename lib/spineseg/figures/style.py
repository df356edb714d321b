"""The style of all figures: sizes, colours, the line of each method, and how figures are saved."""

from pathlib import Path
from typing import Any

import seaborn as sns
from matplotlib.figure import Figure

from spineseg.methods import METHODS, NOISE_METHODS
from spineseg.utils.files import atomic_write

COLUMN_WIDTH = 3.5  # inches, of a journal
PAGE_WIDTH = 7.2

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
        "font.size": 8,
        "axes.titlesize": 9,
        "axes.labelsize": 8,
        "legend.fontsize": 7,
        "legend.frameon": False,
        "figure.dpi": 150,  # in notebooks; a page is 1080 pixels wide
        "savefig.dpi": 200,
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
        "markersize": 4,
        "linewidth": 1.2,
        "linestyle": "--" if METHODS[name].noise else "-",
        "label": METHODS[name].title,
    }
