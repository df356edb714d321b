"""Comparable timings: separate processes, a synchronised device, and its measured peak rate."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_all_start_methods, get_context
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from spineseg.training.device import make_fabric
from spineseg.utils.processes import end_with_parent
from spineseg.utils.progress import silence_lightning

if TYPE_CHECKING:
    from lightning_fabric import Fabric

# On Linux, a spawned process inherits its parent's peak of memory; a forkserver's does not.
START_METHOD = "forkserver" if "forkserver" in get_all_start_methods() else "spawn"
GEMM_SIDES = (1024, 4096)
GEMM_ROUNDS = 3


def run_in_subprocess(function: Callable, *arguments: Any) -> Any:
    """The result of the call in a new process with as many threads as this one."""
    threads = torch.get_num_threads()
    with ProcessPoolExecutor(1, get_context(START_METHOD), _start_quietly, (threads,)) as pool:
        return pool.submit(function, *arguments).result()


def _start_quietly(threads: int) -> None:
    end_with_parent()
    silence_lightning()
    torch.set_num_threads(threads)


def timed(fabric: Fabric, work: Callable) -> float:
    """Seconds that one call takes until the device has finished."""
    start = time.perf_counter()
    work()
    torch.get_device_module(fabric.device).synchronize()
    return time.perf_counter() - start


def peak_memory(fabric: Fabric) -> float:
    """The largest memory of this process so far, MiB: on its CUDA GPU, else resident memory."""
    if fabric.device.type == "cuda":
        return torch.cuda.max_memory_allocated() / 2**20
    return _peak_resident() / 2**20


def _peak_resident() -> int:
    """In bytes."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset
    import resource

    unit = 1 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@torch.inference_mode()
def gemm_rate() -> float:
    """The device's highest measured rate in products of square matrices, operations per second.

    It is measured in the precision of the networks and bounds what a convolution can reach.
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
    """Time the contenders in turn, so that a slow phase of the machine affects all of them.

    One warm-up round, then up to `rounds` rounds or `budget` seconds. If the warm-up used up the
    budget, it is the result. For each contender: the number of rounds, the median and quartiles of
    its seconds, and `ratio`, the median and quartiles of its time over the first contender's.
    """
    fabric = make_fabric()
    end = time.perf_counter() + budget
    measured: list[list[float]] = []
    while not measured or (len(measured) <= rounds and time.perf_counter() < end):
        measured.append([timed(fabric, work) for work in contenders.values()])
    seconds = np.array(measured[1:] or measured)
    ratios = seconds / seconds[:, :1]
    return {
        name: {
            "rounds": len(seconds),
            **_quartiles("seconds", seconds[:, column]),
            **_quartiles("ratio", ratios[:, column]),
        }
        for column, name in enumerate(contenders)
    }


def _quartiles(name: str, values: np.ndarray) -> dict[str, float]:
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {name: middle, f"{name}_low": low, f"{name}_high": high}
