"""Fig. 2-4, drawn from the modules of a network, so that they show what the network is."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from spineseg.figures.style import PAGE_WIDTH, SMALL_TYPE
from spineseg.models.blocks import ASPP, DoubleConv, ImagePooling

DOUBLE_CONV = "#56B4E9"  # fill colours
ATROUS = "#E69F00"
POOLED = "#DDDDDD"
DECODER = "#009E73"
OTHER = "#F2F2F2"

# Of Fig. 4, where one level is one unit high.
WIDTH, WIDE, HALF = 1.25, 1.75, 0.28  # boxes: width, width in the decoder, half the height
STEP = 0.3  # from the left of a level to that of the level below
TO_ASPP = 1.45  # from a DC to its ASPP
TO_DECODER = 4.0  # from the lowest DC to its counterpart

Point = tuple[float, float]


def fig2(module: ASPP) -> Figure:
    """Fig. 2: the parallel branches of an ASPP module, their concatenation and its projection."""
    figure, axes = _canvas(PAGE_WIDTH + 1, 5.4)
    branches = list(module.branches)
    middle = (len(branches) - 1) / 2
    _box(axes, middle, 3, f"input\n{_convolution(branches[0]).in_channels} channels", OTHER)
    for column, branch in enumerate(branches):
        _box(axes, column, 1.9, _words(branch), ATROUS, height=0.95)
        _arrow(axes, (middle, 2.72), (column, 2.4))
        _arrow(axes, (column, 1.4), (middle, 1.08))
    _box(axes, middle, 0.8, f"Concat\n{_convolution(module.project).in_channels} channels", OTHER)
    _box(axes, middle, -0.2, _words(module.project), ATROUS, height=0.75)
    _arrow(axes, (middle, 0.52), (middle, 0.18))
    axes.set(xlim=(-0.6, len(branches) - 0.4), ylim=(-0.7, 3.4))
    return figure


def fig3(module: DoubleConv) -> Figure:
    """Fig. 3: the layers of a DC module from left to right."""
    layers = [layer for part in module.children() for layer in part.children()]
    figure, axes = _canvas(PAGE_WIDTH, 1.2)
    for column, layer in enumerate(layers):
        _box(axes, column, 0, _layer_words(layer), DOUBLE_CONV)
        if column:
            _arrow(axes, (column - 0.57, 0), (column - 0.43, 0))
    axes.set(xlim=(-0.6, len(layers) - 0.4), ylim=(-0.5, 0.5))
    return figure


def fig4(shapes: pd.DataFrame) -> Figure:
    """Fig. 4: the network as a U, with the shape of each map. Dashed arrows are skip connections.

    `shapes` is that of `models.trace.trace_stages`.
    """
    rows = {row["module"]: row for _, row in shapes.iterrows()}
    depth = sum(name.startswith("down.") for name in rows)
    bottom = (depth - 1) * STEP  # x of the lowest DC
    figure, axes = _canvas(PAGE_WIDTH + 1, 1 + 1.05 * (depth + 1))
    for level in range(depth):
        y = depth - level
        skip, up = rows[f"down.{level}"], rows[f"up.{depth - 1 - level}"]
        left = level * STEP
        right = 2 * bottom - left + TO_DECODER
        _box(axes, left, y, f"DC\n{_size(skip)}", DOUBLE_CONV, width=WIDTH)
        aspp = rows[f"aspp.{level}"]
        end = left  # x of the last module of this level in the encoder
        if aspp["type"] == "ASPP":
            end = left + TO_ASPP
            _box(axes, end, y, f"ASPP\n{_size(aspp)}", ATROUS, width=WIDTH)
            _arrow(axes, (left + WIDTH / 2, y), (end - WIDTH / 2, y))
        _box(axes, right, y, f"TranConv, Concat, DC\n{_size(up)}", DECODER, width=WIDE)
        over = (left + 0.35, y + HALF), (right - 0.5, y + HALF)
        _arrow(axes, *over, dashed=True, bend=-0.05)
        words = {"x": left + STEP, "y": y - HALF - 0.1, "ha": "center"}
        if level < depth - 1:
            below, start = (left + STEP - 0.3, y - 1 + HALF), (right - STEP + 0.4, y - 1 + HALF)
        else:
            middle = bottom + TO_DECODER / 2
            below, start = (middle - 0.35, HALF), (middle + 0.35, HALF)
            words = {"x": (end + below[0]) / 2 - 0.2, "y": y - 0.5, "ha": "right"}
        _arrow(axes, (end, y - HALF), below)
        axes.text(s="MaxPool", fontsize=SMALL_TYPE, va="center", **words)
        _arrow(axes, start, (right, y - HALF))
    lowest = rows[f"aspp.{depth - 1}"]
    halved = f"{lowest['channels']} x {lowest['rows'] // 2} x {lowest['columns'] // 2}"
    _box(axes, bottom + TO_DECODER / 2, 0, f"pooled\n{halved}", POOLED, width=WIDTH)
    right = 2 * bottom + TO_DECODER
    _box(axes, right, depth + 1, f"Conv 1x1\n{_size(rows['head'])}", OTHER, width=WIDTH)
    _arrow(axes, (right + 0.4, depth + HALF), (right + 0.4, depth + 1 - HALF))
    axes.set(xlim=(-WIDTH / 2 - 0.1, right + WIDE / 2 + 0.1), ylim=(-0.4, depth + 1.4))
    return figure


def _canvas(width: float, height: float) -> tuple[Figure, Axes]:
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.axis("off")
    return figure, axes


def _box(
    axes: Axes, x: float, y: float, text: str, fill: str, width: float = 0.86, height: float = 0.56
) -> None:
    corner = (x - width / 2, y - height / 2)
    axes.add_patch(
        FancyBboxPatch(
            corner,
            width,
            height,
            boxstyle="round,pad=0.02",
            facecolor=fill,
            edgecolor="#444444",
            alpha=0.85,
            linewidth=0.8,
        )
    )
    axes.text(x, y, text, ha="center", va="center")


def _arrow(axes: Axes, start: Point, end: Point, dashed: bool = False, bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=11,
            linewidth=1,
            zorder=3,  # above the boxes
            color="#444444",
            linestyle="--" if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
        )
    )


def _size(row: pd.Series) -> str:
    return f"{row['channels']} x {row['rows']} x {row['columns']}"


def _convolution(module: nn.Module) -> nn.Conv2d:
    return next(layer for layer in module.modules() if isinstance(layer, nn.Conv2d))


def _words(module: nn.Module) -> str:
    """The layers of a branch, one per line, in the order in which they are applied."""
    layers = [_layer_words(layer) for layer in module.modules() if not list(layer.children())]
    if isinstance(module, ImagePooling):
        layers = ["mean over the map", *layers, "spread over the map"]
    return "\n".join(layers)


def _layer_words(layer: nn.Module) -> str:
    if isinstance(layer, nn.Conv2d):
        rate = f", rate {layer.dilation[0]}" if layer.dilation[0] > 1 else ""
        kernel = "x".join(map(str, layer.kernel_size))
        return f"Conv {kernel}{rate}\n{layer.in_channels} to {layer.out_channels}"
    return {"BatchNorm2d": "BN"}.get(type(layer).__name__, type(layer).__name__)
