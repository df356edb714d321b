"""Fig. 2-4, drawn from the modules of a network, so that they show what the network is."""

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from spineseg.figures.style import PAGE_WIDTH
from spineseg.models.blocks import ASPP, DoubleConv, ImagePooling

DOUBLE_CONV = "#56B4E9"  # fill colours
ATROUS = "#E69F00"
POOLED = "#DDDDDD"
DECODER = "#009E73"
OTHER = "#F2F2F2"


def fig2(module: ASPP) -> Figure:
    """Fig. 2: the parallel branches of an ASPP module, their concatenation and its projection."""
    figure, axes = _canvas(PAGE_WIDTH, 3.6)
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
    figure, axes = _canvas(PAGE_WIDTH, 0.9)
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
    figure, axes = _canvas(PAGE_WIDTH, 4.4)
    for level in range(depth):
        y = depth - level
        skip, up = rows[f"down.{level}"], rows[f"up.{depth - 1 - level}"]
        left = level * 0.35
        right = 2 * depth + 1 - left
        _box(axes, left, y, f"DC\n{_size(skip)}", DOUBLE_CONV, width=1.15)
        aspp = rows[f"aspp.{level}"]
        if aspp["type"] == "ASPP":
            _box(axes, left + 1.4, y, f"ASPP\n{_size(aspp)}", ATROUS, width=1.15)
            _arrow(axes, (left + 0.58, y), (left + 0.82, y))
        _box(axes, right, y, f"TranConv, Concat, DC\n{_size(up)}", DECODER, width=1.7)
        _arrow(axes, (left, y + 0.28), (right, y + 0.28), dashed=True, bend=-0.06)
        below = (left + 0.35, y - 0.72) if level < depth - 1 else (depth - 0.15, 0.15)
        _arrow(axes, (left + 1.4, y - 0.3), below, text="MaxPool")
        start = (right - 0.35, y - 0.72) if level < depth - 1 else (depth + 1.15, 0.15)
        _arrow(axes, start, (right, y - 0.28))
    bottom = rows[f"aspp.{depth - 1}"]
    halved = f"{bottom['channels']} x {bottom['rows'] // 2} x {bottom['columns'] // 2}"
    _box(axes, depth + 0.5, 0, f"pooled\n{halved}", POOLED, width=1.15)
    right = 2 * depth + 1
    _box(axes, right, depth + 1, f"Conv 1x1\n{_size(rows['head'])}", OTHER, width=1.15)
    _arrow(axes, (right + 0.35, depth + 0.28), (right + 0.35, depth + 0.72))
    axes.set(xlim=(-0.7, right + 1), ylim=(-0.5, depth + 1.5))
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
            linewidth=0.6,
        )
    )
    axes.text(x, y, text, ha="center", va="center", fontsize=6)


def _arrow(axes, start, end, text: str = "", dashed: bool = False, bend: float = 0.0) -> None:
    axes.add_patch(
        FancyArrowPatch(
            start,
            end,
            arrowstyle="-|>",
            mutation_scale=6,
            linewidth=0.7,
            color="#444444",
            linestyle="--" if dashed else "-",
            connectionstyle=f"arc3,rad={bend}",
        )
    )
    if text:
        axes.text((start[0] + end[0]) / 2 + 0.1, (start[1] + end[1]) / 2 - 0.08, text, fontsize=5)


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
