"""The machine a run finds: through Lightning Fabric, one process or many."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import Strategy

PRECISIONS = {"bf16-mixed": "bf16", "32-true": "float32", "64-true": "float64"}


def make_fabric(devices: int = 1, nodes: int = 1, strategy: str | Strategy = "auto") -> Fabric:
    """So many CUDA GPUs of each host, else as many processes on its CPU; bf16 where the hardware
    computes it."""
    from lightning_fabric import Fabric

    accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    return Fabric(
        accelerator=accelerator,
        strategy=strategy,
        devices=devices,
        num_nodes=nodes,
        precision=_precision(),
    )


def _precision() -> Literal["bf16-mixed", "32-true"]:
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        fast = bool(_capabilities().get("avx512_bf16", False))
    return "bf16-mixed" if fast else "32-true"


def _capabilities() -> dict[str, bool]:
    """What the CPU can do, as far as torch tells."""
    return getattr(torch.cpu, "get_capabilities", dict[str, bool])()


def describe_device(fabric: Fabric) -> str:
    """The device in words, as results carry it."""
    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
    else:
        threads = torch.get_num_threads()
        name = f"{platform.machine()} CPU, {threads} thread{'s' * (threads > 1)}"
    processes = f"{fabric.world_size} x " if fabric.world_size > 1 else ""
    return f"{processes}{name}, {PRECISIONS[fabric.strategy.precision.precision]}"


@contextmanager
def single_thread_for_conv3d(wanted: bool) -> Iterator[None]:
    """Where 3-D convolutions are trained on a CPU with AMX: by one thread.

    Shared by threads, their gradient in bf16 waits for itself for ever (torch 2.13, oneDNN); one
    thread with AMX is faster than two without.
    """
    threads = torch.get_num_threads()
    if wanted and not torch.cuda.is_available() and _capabilities().get("amx_bf16", False):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
