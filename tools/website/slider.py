"""A slider without a kernel: pictures made beforehand, and HTML that shows one set at a time.

`site/static/slider.js` exchanges the pictures. Without JavaScript the first set is seen.
"""

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from spineseg.labels import COLOURS

OVERLAY = 150  # how opaque labels are, of 255
CURVE_WIDTH, CURVE_HEIGHT = 320, 90  # of the drawing of a curve, in its own units
LINES = ("solid", "dashed")  # of the curves, so that they differ without colour too


@dataclass(frozen=True)
class Panel:
    """One picture of a slider: its title, what it shows, and for each position its layers.

    The layers are files below the site's root. The last one holds labels if there are two.
    """

    title: str
    alt: str
    frames: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Slider:
    """Panels that move together. `values` and `texts` have one entry per position.

    `curves` are values of 0..100 per position, drawn below the panels with a marker.
    """

    name: str
    label: str
    values: Sequence[str]
    texts: Sequence[str]
    panels: Sequence[Panel]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)
    first: int = 0

    def html(self) -> str:
        """The slider as one block of HTML without blank lines."""
        data = {
            "values": list(self.values),
            "texts": list(self.texts),
            "panels": [[list(frame) for frame in panel.frames] for panel in self.panels],
        }
        has_labels = any(len(panel.frames[0]) > 1 for panel in self.panels)
        lines = [
            f'<figure class="slider" id="slider-{self.name}">',
            f'<div class="slider-panels" style="--panels: {len(self.panels)}">'
            f"{''.join(map(self._panel, self.panels))}</div>",
            '<div class="slider-controls">',
            f"<label>{html.escape(self.label)} <output>{html.escape(self.values[self.first])}"
            f'</output><input type="range" min="0" max="{len(self.values) - 1}" step="1" '
            f'value="{self.first}"></label>',
            '<label class="slider-toggle"><input type="checkbox" checked> labels</label>'
            if has_labels
            else "",
            "</div>",
            f'<figcaption aria-live="polite">{html.escape(self.texts[self.first])}</figcaption>',
            curve_svg(self.curves, self.first) if self.curves else "",
            f'<script type="application/json">{_script_safe(json.dumps(data))}</script>',
            "</figure>",
        ]
        return "\n".join(line for line in lines if line)

    def _panel(self, panel: Panel) -> str:
        alt = html.escape(panel.alt, quote=True)
        layers = "".join(
            f'<img src="{file}" alt="{"" if number else alt}" class="slider-layer">'
            for number, file in enumerate(panel.frames[self.first])
        )
        title = html.escape(panel.title)
        return f'<div class="slider-panel"><div>{layers}</div><p>{title}</p></div>'


def _script_safe(text: str) -> str:
    return text.replace("</", "<\\/")


def curve_svg(curves: Mapping[str, Sequence[float]], first: int = 0) -> str:
    """Curves of 0..100 as SVG with a marker that the script moves."""
    positions = len(next(iter(curves.values())))
    parts = []
    for number, (name, values) in enumerate(curves.items()):
        points = " ".join(
            f"{place(n, positions):.1f},{CURVE_HEIGHT * (1 - v / 100):.1f}"
            for n, v in enumerate(values)
        )
        style = LINES[number % len(LINES)]
        parts.append(f'<polyline class="{style}" points="{points}"/>')
        y, x = 8 + 18 * number, CURVE_WIDTH + 10
        parts.append(f'<polyline class="{style}" points="{x},{y} {x + 24},{y}"/>')
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{html.escape(name)}</text>')
    x = place(first, positions)
    names = html.escape(" and ".join(curves), quote=True)
    return (
        f'<svg class="slider-curve" viewBox="-34 -22 {CURVE_WIDTH + 150} {CURVE_HEIGHT + 30}" '
        f'role="img" aria-label="{names} at each position of the slider">'
        f'<path class="axis" d="M0 0V{CURVE_HEIGHT}H{CURVE_WIDTH}"/>'
        f'<text x="0" y="-10">mean DSC, %</text>'
        f'<text class="axis" x="-4" y="4">100</text>'
        f'<text class="axis" x="-4" y="{CURVE_HEIGHT}">0</text>'
        f"{''.join(parts)}"
        f'<line class="marker" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{CURVE_HEIGHT}"/></svg>'
    )


def place(position: int, positions: int) -> float:
    """Where a position of the slider is along the axis of a curve."""
    return CURVE_WIDTH * position / max(1, positions - 1)


def save_gray(gray: np.ndarray, pixel: tuple[float, float], path: Path) -> str:
    """Write a slice (rows, columns), uint8, as PNG; `pixel` is mm of rows and columns.

    Returns the file's address from the site's root. Pixels are made square.
    """
    return _save(Image.fromarray(gray, "L"), pixel, path, Image.Resampling.BICUBIC)


def save_labels(classes: np.ndarray, pixel: tuple[float, float], path: Path) -> str:
    """Write classes (rows, columns) as a PNG that lets the image below shine through."""
    palette = np.array(
        [
            [int(colour[i : i + 2], 16) for i in (1, 3, 5)] + [OVERLAY * (name != "BG")]
            for name, colour in COLOURS.items()
        ],
        np.uint8,
    )
    return _save(Image.fromarray(palette[classes], "RGBA"), pixel, path, Image.Resampling.NEAREST)


def _save(image: Image.Image, pixel: tuple[float, float], path: Path, how: Image.Resampling) -> str:
    rows, columns = image.height * pixel[0], image.width * pixel[1]
    scale = max(1, round(400 / image.height))
    height = image.height * scale
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((round(height * columns / rows), height), how).save(path, optimize=True)
    return f"_static/{path.parent.name}/{path.name}"


def legend() -> str:
    """The colours of the classes, as HTML."""
    items = "".join(
        f'<li><span style="background:{colour}"></span>{name}</li>'
        for name, colour in COLOURS.items()
        if name != "BG"
    )
    return f'<ul class="class-legend">{items}</ul>'
