"""Timing that can be compared: a process of its own, the device waited for, what it could do."""

from __future__ import annotations

import logging
import resource
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spineseg.training.device import make_fabric
from spineseg.utils.processes import end_with_parent

if TYPE_CHECKING:
    from lightning_fabric import Fabric

GEMM_SIDES = (1024, 4096)
GEMM_ROUNDS = 3


def run_in_subprocess(function: Callable, *arguments: Any) -> Any:
    """Call it where nothing ran before, with as many threads as here.

    Not by `spawn`: on Linux a spawned process starts from its parent's peak resident size.
    """
    context, threads = get_context("forkserver"), torch.get_num_threads()
    with ProcessPoolExecutor(1, context, _start_quietly, (threads,)) as pool:
        return pool.submit(function, *arguments).result()


def _start_quietly(threads: int) -> None:
    import lightning_fabric  # first, as it sets the level of its own log

    end_with_parent()
    torch.set_num_threads(threads)
    logging.getLogger(lightning_fabric.__name__).setLevel(logging.WARNING)  # it would break the bar


def timed(fabric: Fabric, work: Callable) -> float:
    """How long one call takes, until the device has done it."""
    start = time.perf_counter()
    work()
    if fabric.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def peak_memory(fabric: Fabric) -> float:
    """The most that this process ever held, MiB: on the GPU, or resident where there is none."""
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    unit = 1 if sys.platform == "darwin" else 2**10  # bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


@torch.inference_mode()
def gemm_rate() -> float:
    """Operations a second in products of square matrices, as fast as they come.

    In the precision that networks compute in: what a convolution could reach at best.
    """
    fabric = make_fabric()
    rates = []
    for side in GEMM_SIDES:
        matrix = torch.randn(side, side, device=fabric.device)
        with fabric.autocast():
            matrix = matrix @ matrix  # has that precision
        fastest = min(timed(fabric, lambda m=matrix: m @ m) for _ in range(GEMM_ROUNDS))
        rates.append(2 * side**3 / fastest)
    return max(rates)


def time_interleaved(
    contenders: Mapping[str, Callable[[], Any]], budget: float, rounds: int = 10
) -> dict[str, dict[str, float]]:
    """Time calls in turn, round after round, so that what slows the machine slows them all.

    After a round that warms up (and counts where it took the whole budget) so many rounds, fewer
    where they take longer than `budget` seconds. For each contender: the rounds, the median of its
    seconds and their quartiles, and `ratio`, how many times as long as the first it took (median
    over the rounds) with its quartiles.
    """
    fabric = make_fabric()
    end = time.perf_counter() + budget
    timed: list[list[float]] = []
    while not timed or (len(timed) <= rounds and time.perf_counter() < end):
        timed.append([timed(fabric, work) for work in contenders.values()])
    seconds = np.array(timed[1:] or timed)
    ratios = seconds / seconds[:, :1]
    return {
        name: {
            "rounds": len(seconds),
            **_spread("seconds", seconds[:, column]),
            **_spread("ratio", ratios[:, column]),
        }
        for column, name in enumerate(contenders)
    }


def _spread(name: str, values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {name: middle, f"{name}_low": low, f"{name}_high": high}
