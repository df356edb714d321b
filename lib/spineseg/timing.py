"""Timing that can be compared: a process of its own, the device waited for, what it could do."""

import logging
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import torch
from lightning_fabric import Fabric

from spineseg.device import make_fabric
from spineseg.processes import end_with_parent

GEMM_SIDES = (1024, 4096)
GEMM_ROUNDS = 3


def in_own_process(function: Callable, *arguments: Any) -> Any:
    """Call it where nothing ran before, with as many threads as here.

    Not by `spawn`: on Linux a spawned process starts from its parent's peak resident size.
    """
    context, threads = get_context("forkserver"), torch.get_num_threads()
    with ProcessPoolExecutor(1, context, start_quietly, (threads,)) as pool:
        return pool.submit(function, *arguments).result()


def start_quietly(threads: int) -> None:
    end_with_parent()
    torch.set_num_threads(threads)
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # it would break the bar


def seconds_of(fabric: Fabric, work: Callable) -> float:
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
        fastest = min(seconds_of(fabric, lambda m=matrix: m @ m) for _ in range(GEMM_ROUNDS))
        rates.append(2 * side**3 / fastest)
    return max(rates)
