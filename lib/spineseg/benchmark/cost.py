"""Measure what the networks of Table 4 cost (section 3): size, arithmetic, time and memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn

from spineseg.benchmark.timing import gemm_rate, peak_memory, run_in_subprocess, timed
from spineseg.methods import INSTALL_NNUNET, NNUNET, TABLE3_METHODS, nnunet_is_installed
from spineseg.models import build_model
from spineseg.models.counting import (
    COLUMNS,
    ROWS,
    count_parameters,
    flops,
    input_shape,
    slices_in,
)
from spineseg.models.fast import make_fast, memory_format
from spineseg.nnunet.network import planned_network
from spineseg.training.device import make_fabric
from spineseg.utils.progress import progress_bar

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PAPER_WIDTH = 64  # channels of the first stage
LEAST_ROUNDS = 3  # timed passes per network, however slow it is
ROUNDS = 10  # and at most, within TIMED_SECONDS
TIMED_SECONDS = 5.0
COST_COLUMNS = (
    *("model", "parameters", "gflops", "rows", "columns", "rounds", "seconds", "memory_mib"),
    *("gemm_gflops_per_s", "share_of_peak", "note"),
)


def measure_cost(rows: int) -> pd.DataFrame:
    """One row per network of Table 4, at the paper's width.

    The columns `parameters` and `gflops` (GFLOP per 880 x 464 image, two operations for each
    multiply-add) are counted. The others are measured on images of `rows` rows and of `columns`
    columns, in the proportion of the paper's:

    - `seconds` per image, the median of `rounds` forward passes in the network's fast form. Neither
      preprocessing nor nnU-Net's mirrored copies are included.
    - `memory_mib`, the peak memory of a pass with the weights.
    - `gemm_gflops_per_s`, the rate at which the device multiplies matrices, and `share_of_peak`,
      the network's rate as a share of it.

    An image is one slice. U-Net-3D takes volumes of 12 slices: its time and arithmetic are divided
    by 12, its memory is not. `note` says why a row is empty.
    """
    columns = columns_for(rows)
    peak = run_in_subprocess(gemm_rate)
    table = pd.DataFrame(
        {
            "model": name,
            "rows": rows,
            "columns": columns,
            "gemm_gflops_per_s": peak / 1e9,
            **_cost(name, rows, columns, peak),
        }
        for name in progress_bar(TABLE3_METHODS, desc="cost", unit="network")
    )
    table = table.reindex(columns=list(COST_COLUMNS))
    return table.astype({"parameters": "Int64", "rounds": "Int64"})


def columns_for(rows: int) -> int:
    """The multiple of 16 nearest to the paper's proportion of rows to columns."""
    return max(16, 16 * round(rows * COLUMNS / ROWS / 16))


def _cost(name: str, rows: int, columns: int, peak: float) -> dict[str, Any]:
    if name == NNUNET and not nnunet_is_installed():
        return {"note": f"not installed; `{INSTALL_NNUNET}` installs it"}
    network, shape = network_on_meta(name, ROWS, COLUMNS)
    counted = {"parameters": count_parameters(network), "gflops": flops(network, shape) / 1e9}
    try:
        measured = run_in_subprocess(measure_inference, name, rows, columns)
    except (BrokenProcessPool, torch.OutOfMemoryError):
        return {**counted, "note": f"out of memory at {rows} x {columns}"}
    share = fast_flops(name, rows, columns) / measured["seconds"] / peak
    return {**counted, **measured, "share_of_peak": share, "note": ""}


def network_for(name: str, rows: int, columns: int) -> tuple[nn.Module, tuple[int, ...]]:
    """The plain network at the paper's width in evaluation mode, and the shape of its input."""
    if name == NNUNET:
        return planned_network(rows, columns)
    return build_model(name, PAPER_WIDTH).eval(), input_shape(name, rows, columns)


def network_on_meta(name: str, rows: int, columns: int) -> tuple[nn.Module, tuple[int, ...]]:
    """As `network_for`, with shapes but without weights."""
    with torch.device("meta"):
        return network_for(name, rows, columns)


def fast_flops(name: str, rows: int, columns: int) -> float:
    """Operations per image that the fast form computes, which leaves out taps on zeros."""
    network, shape = network_on_meta(name, rows, columns)
    return flops(make_fast(network), shape)


@torch.inference_mode()
def measure_inference(name: str, rows: int, columns: int) -> dict[str, float]:
    """Rounds, seconds per image and memory (MiB). Call it in a process of its own."""
    fabric = make_fabric(PAPER_WIDTH)
    before = peak_memory(fabric)
    network, shape = network_for(name, rows, columns)
    network = fabric.setup_module(make_fast(network))
    inputs = torch.randn(shape, device=fabric.device)
    inputs = inputs.contiguous(memory_format=memory_format(network))
    passes = _time_passes(fabric, lambda: network(inputs))
    return {
        "rounds": len(passes),
        "seconds": float(np.median(passes)) / slices_in(shape),
        "memory_mib": peak_memory(fabric) - before,
    }


def _time_passes(fabric: Fabric, forward: Callable) -> list[float]:
    """The seconds of each pass after a warm-up."""
    end = time.perf_counter() + TIMED_SECONDS
    timed(fabric, forward)
    passes: list[float] = []
    while len(passes) < LEAST_ROUNDS or (len(passes) < ROUNDS and time.perf_counter() < end):
        passes.append(timed(fabric, forward))
    return passes
