"""Parameters and arithmetic of a network, counted from its shapes alone."""

import math
from functools import cache
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spineseg.methods import METHODS
from spineseg.models import build_model

SLICES, ROWS, COLUMNS = 12, 880, 464  # the paper's volume (section 2.1)


def count_parameters(network: nn.Module) -> int:
    """The number of trainable values."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


@cache
def parameters(name: str, **options: Any) -> int:
    """Parameters of a method's network at the paper's width; `options` go to `build_model`."""
    return count_parameters(on_meta(name, **options))


@cache
def gflops(name: str, **options: Any) -> float:
    """GFLOP per 880 x 464 image of a method's network at the paper's width."""
    return flops(on_meta(name, **options), input_shape(name, ROWS, COLUMNS)) / 1e9


def on_meta(name: str, **options: Any) -> nn.Module:
    """A method's network in evaluation mode, with shapes but without weights."""
    with torch.device("meta"):
        return build_model(name, **options).eval()


def input_shape(name: str, rows: int, columns: int) -> tuple[int, ...]:
    """(1, 1, rows, columns), or (1, 1, 12, rows, columns) for a network that takes volumes."""
    slices = (SLICES,) if METHODS[name].volumetric else ()
    return (1, 1, *slices, rows, columns)


def flops(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Operations per slice of a network on the meta device, two for each multiply-add.

    Only convolutions are counted. The rest (norms, ReLU, pooling, interpolation) adds less than one
    per cent.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / slices_in(shape)


def slices_in(shape: tuple[int, ...]) -> int:
    """The number of slices in an input of this shape."""
    return math.prod(shape[:-2])
