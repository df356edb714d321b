"""What each network costs: parameters, arithmetic, time and memory, beside Table 4 (section 3)."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from spineseg.benchmark.timing import gemm_rate, peak_memory, run_in_subprocess, timed
from spineseg.experiment import Experiment
from spineseg.labels import NUM_CLASSES
from spineseg.methods import INSTALL_NNUNET, NNUNET, TABLE3, TITLES, nnunet_is_installed
from spineseg.models import MODELS, build_model, count_parameters
from spineseg.models.folding import fold
from spineseg.models.plain import plain
from spineseg.paper.printed import printed as paper
from spineseg.training.device import describe_device, make_fabric
from spineseg.utils.files import read_csv, write_csv
from spineseg.utils.paths import COST
from spineseg.utils.progress import progress_bar

if TYPE_CHECKING:
    from lightning_fabric import Fabric

SLICES, ROWS, COLUMNS = 12, 880, 464  # the paper's volume (section 2.1)
ROUNDS = 10  # passes timed of each network, fewer where they take longer than
TIMED_SECONDS = 5.0


def cost_of(experiment: Experiment) -> pd.DataFrame:
    """What the networks of Table 4 cost, from results/<experiment>/; measured first if it is missing."""
    path = experiment.results / COST
    path = path if path.is_file() else write_cost(experiment)
    measured = ("parameters", "gflops", "seconds", "note")
    return read_csv(path, ["model"], measured, dtype={"note": str})


def counted(models: Sequence[str]) -> pd.DataFrame:
    """Parameters, and GFLOP an image of 880 x 464, of networks at the paper's width."""
    return pd.DataFrame(
        {"model": name, "parameters": parameters(name), "gflops": gflops(name)} for name in models
    )


@cache
def parameters(name: str, **options: Any) -> int:
    """Parameters of a network at the paper's width; `options` are those of `build_model`."""
    return count_parameters(on_meta(name, ROWS, COLUMNS, **options)[0])


@cache
def gflops(name: str, **options: Any) -> float:
    """Billions of operations an image of 880 x 464 of a network at the paper's width, as drawn."""
    network, shape = on_meta(name, ROWS, COLUMNS, **options)
    return flops(plain(network), shape) / 1e9


def write_cost(experiment: Experiment) -> Path:
    """Measure all networks of Table 4 and write results/<experiment>/cost.csv."""
    path = experiment.results / COST
    write_csv(path, experiment.stamp(measure_cost(experiment), describe_device(make_fabric())))
    return path


def measure_cost(experiment: Experiment) -> pd.DataFrame:
    """One row for each network of Table 4, at the paper's width: 64 channels in the first stage.

    parameters, and `gflops` (billions of operations, two a multiply-add) an image of 880 x 464;
    measured on images of rows x columns: `seconds` an image (median of `rounds` passes), the
    largest memory of a pass with the weights (MiB), the device's rate in plain matrix products and
    the share of it that the network reaches. An image is one slice; U-Net-3D gets volumes of 12
    and counts a twelfth, except in memory. A pass is the network alone: no preprocessing, and for
    nnU-Net none of its mirrored copies. `note` says why a row is empty.
    """
    rows, columns = measured_size(experiment.profile.benchmark_rows)
    peak = run_in_subprocess(gemm_rate)
    table = pd.DataFrame(
        {
            "model": name,
            "rows": rows,
            "columns": columns,
            "gemm_gflops_per_s": peak / 1e9,
            **_cost(name, rows, columns, peak),
        }
        for name in progress_bar(TABLE3, desc="cost", unit="network")
    )
    order = ["model", "parameters", "gflops", "rows", "columns", "rounds", "seconds", "memory_mib"]
    table = table.reindex(columns=[*order, "gemm_gflops_per_s", "share_of_peak", "note"])
    return table.astype({"parameters": "Int64", "rounds": "Int64"})


def measured_size(rows: int) -> tuple[int, int]:
    """So many rows, and columns in the paper's proportion, to the next multiple of 16."""
    return rows, max(16, 16 * round(rows * COLUMNS / ROWS / 16))


def _cost(name: str, rows: int, columns: int, peak: float) -> dict[str, Any]:
    if name == NNUNET and not nnunet_is_installed():
        return {"note": f"not installed; `{INSTALL_NNUNET}` installs it"}
    cost = {"parameters": parameters(name), "gflops": gflops(name)}
    try:
        cost |= run_in_subprocess(measure, name, rows, columns)
    except (BrokenProcessPool, torch.OutOfMemoryError):
        return {**cost, "note": f"out of memory at {rows} x {columns}"}
    rate = flops(*on_meta(name, rows, columns)) / cost["seconds"]
    return {**cost, "share_of_peak": rate / peak, "note": ""}


def build(name: str, rows: int, columns: int, **options: Any) -> tuple[nn.Module, tuple[int, ...]]:
    """A network at the paper's width, for inference, and the shape of its input.

    The shape is (1, 1, rows, columns), or (1, 1, 12, rows, columns) for whole volumes.
    """
    if name == NNUNET:
        return _nnunet(rows, columns)
    slices = (SLICES,) if MODELS[name].volumetric else ()
    return build_model(name, **options).eval(), (1, 1, *slices, rows, columns)


def _nnunet(rows: int, columns: int) -> tuple[nn.Module, tuple[int, ...]]:
    """What nnU-Net plans for isotropic slices of this size, and the padded slice that it sees."""
    from dynamic_network_architectures.architectures.unet import PlainConvUNet
    from nnunetv2.experiment_planning.experiment_planners.network_topology import (
        get_pool_and_conv_props,
    )

    _, strides, kernels, padded, _ = get_pool_and_conv_props((1, 1), (rows, columns), 4, math.inf)
    stages = len(strides)
    network = PlainConvUNet(
        input_channels=1,
        n_stages=stages,
        features_per_stage=[min(512, 32 * 2**stage) for stage in range(stages)],
        conv_op=nn.Conv2d,
        kernel_sizes=kernels,
        strides=strides,
        n_conv_per_stage=2,
        num_classes=NUM_CLASSES,
        n_conv_per_stage_decoder=2,
        conv_bias=True,
        norm_op=nn.InstanceNorm2d,
        norm_op_kwargs={"eps": 1e-5, "affine": True},
        nonlin=nn.LeakyReLU,
        nonlin_kwargs={"inplace": True},
    )
    return network.eval(), (1, 1, *map(int, padded))


def memory_format(name: str) -> torch.memory_format:
    """Channels innermost, for a network of ours or another's in the plane."""
    return MODELS[name].memory_format if name in MODELS else torch.channels_last


def on_meta(
    name: str, rows: int, columns: int, **options: Any
) -> tuple[nn.Module, tuple[int, ...]]:
    """As `build`, with shapes alone: nothing is stored or computed."""
    with torch.device("meta"):
        return build(name, rows, columns, **options)


def images(shape: tuple[int, ...]) -> int:
    """How many slices an input holds."""
    return math.prod(shape[:-2])


def flops(network: nn.Module, shape: tuple[int, ...]) -> float:
    """Operations an image of a network on the meta device, two a multiply-add, convolutions only.

    What is left out (norms, ReLU, pooling, interpolation) is below one per cent.
    """
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        network(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / images(shape)


@torch.inference_mode()
def measure(name: str, rows: int, columns: int) -> dict[str, float]:
    """Rounds, seconds an image and memory (MiB) of a network; in a process of its own."""
    fabric = make_fabric()
    before = peak_memory(fabric)
    network, shape = build(name, rows, columns)
    layout = memory_format(name)
    network = fabric.setup_module(fold(network).to(memory_format=layout))  # type: ignore[call-overload]
    inputs = torch.randn(shape, device=fabric.device).contiguous(memory_format=layout)
    timed = _time_passes(fabric, lambda: network(inputs))
    return {
        "rounds": len(timed),
        "seconds": float(np.median(timed)) / images(shape),
        "memory_mib": peak_memory(fabric) - before,
    }


def _time_passes(fabric: Fabric, forward: Callable) -> list[float]:
    """The seconds of each pass; the first warms up, and counts only where it took all the time."""
    end = time.perf_counter() + TIMED_SECONDS
    passes = [timed(fabric, forward)]
    while len(passes) <= ROUNDS and time.perf_counter() < end:
        passes.append(timed(fabric, forward))
    return passes[1:] or passes


def beside_table4(cost: pd.DataFrame) -> pd.DataFrame:
    """Table 4 and ours, one row a network: `model` as printed, and

    parameters_*: millions, paper, ours and the difference; seconds_*: an image, on the paper's
    device and on ours; ratio_*: seconds over U-Net-2D's; gflops an image of 880 x 464, and
    gflops_ratio over U-Net-2D's, which a ratio of times follows on a device that is kept busy.
    """
    ours = cost.assign(
        model=cost["model"].map(TITLES), millions=cost["parameters"].astype(float) / 1e6
    )
    ours = ours[["model", "millions", "seconds", "gflops"]]
    both = paper.table4().merge(ours, on="model", how="left", suffixes=("_paper", "_ours"))
    both = both.rename(
        columns={"parameters_millions": "parameters_paper", "millions": "parameters_ours"}
    )
    unet = both.set_index("model").loc[TITLES["unet"]]
    both["ratio_paper"] = both["seconds_paper"] / unet["seconds_paper"]
    both["ratio_ours"] = both["seconds_ours"] / unet["seconds_ours"]
    both["gflops_ratio"] = both["gflops"] / unet["gflops"]
    for quantity in ("parameters", "ratio"):
        both[f"{quantity}_difference"] = both[f"{quantity}_ours"] - both[f"{quantity}_paper"]
    parts = [
        *("parameters_paper", "parameters_ours", "parameters_difference"),
        *("seconds_paper", "seconds_ours", "ratio_paper", "ratio_ours", "ratio_difference"),
        *("gflops", "gflops_ratio"),
    ]
    return both[["model", *parts]]
