"""The machine a run finds: through Lightning Fabric, one process or many."""

import platform
from typing import Literal

import torch
from lightning_fabric import Fabric


def make_fabric(most: int = 1) -> Fabric:
    """At most so many CUDA GPUs, else the CPU; bf16 where the hardware computes it."""
    gpus = min(torch.cuda.device_count(), max(1, most))
    accelerator = "cuda" if gpus else "cpu"
    return Fabric(accelerator=accelerator, devices=gpus or 1, precision=_precision())


def _precision() -> Literal["bf16-mixed", "32-true"]:
    if torch.cuda.is_available():
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
        fast = bool(capabilities.get("avx512_bf16", False))
    return "bf16-mixed" if fast else "32-true"


def describe_device(fabric: Fabric) -> str:
    """The device in words, as results carry it."""
    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
    else:
        threads = torch.get_num_threads()
        name = f"{platform.machine()} CPU, {threads} thread{'s' * (threads > 1)}"
    processes = f"{fabric.world_size} x " if fabric.world_size > 1 else ""
    precision = "bf16" if "bf16" in _precision() else "float32"
    return f"{processes}{name}, {precision}"
