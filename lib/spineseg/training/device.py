"""The device and the precision to compute with, and how processes share a machine's GPUs."""

from __future__ import annotations

import os
import platform
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from filelock import FileLock, Timeout

from spineseg.utils.errors import UserError, write_error
from spineseg.utils.processes import count_cores

if TYPE_CHECKING:
    from lightning_fabric import Fabric

Device = Literal["cpu", "cuda", "mps"]

DEVICE_VARIABLE = "SPINESEG_DEVICE"
PRECISIONS = {"bf16-mixed": "bf16", "32-true": "float32", "64-true": "float64"}
LARGEST_WIDTH = 1024  # of a profile
# From this width on, bf16 is used on CPUs with AVX512-BF16 but without AMX. Processors differ: on
# one, bf16 trained ASPP-UNet of width 64 2.8 times as fast as float32 with channels first; on an
# Intel Xeon it was slower at all widths. For the Xeon, milliseconds per training step, float32 /
# bf16 (torch 2.13, one thread, batch 4 of 112 x 64, channels last, medians of interleaved steps):
#     width            16         32           64
#     U-Net        90 / 121  274 / 406  1016 / 1555
#     ASPP-UNet   143 / 185  411 / 564  1362 / 2016
WIDE = 64
SECONDS_BETWEEN_TRIES = 1.0
RUNS_PER_GPU = "SPINESEG_RUNS_PER_GPU"  # small networks do not fill a GPU; default: 1

if "OMP_NUM_THREADS" not in os.environ:  # torch knows nothing of the quota of a container
    torch.set_num_threads(min(torch.get_num_threads(), count_cores()))


def make_fabric(width: int | None = None, precision: str | None = None, gpu: int = 0) -> Fabric:
    """A Fabric of one device (see `choose_device`).

    `width` is the network's, for `precision_for`. `precision` (bf16-mixed, 32-true or 64-true)
    overrides that rule, so that a resumed run keeps the precision it started with. `gpu` is the
    index of the GPU, as `claim_gpu` gives it. Raises UserError as `choose_device` does.
    """
    from lightning_fabric import Fabric

    device = choose_device()
    return Fabric(
        accelerator=device,
        devices=[gpu] if device == "cuda" else 1,
        precision=precision or precision_for(width),  # type: ignore[arg-type]
    )


def choose_device() -> Device:
    """The device that SPINESEG_DEVICE names, else a GPU with CUDA if torch supports one, else CPU.

    MPS is used on request only. Raises UserError if the variable names no device, or one that is
    not available.
    """
    wanted = os.environ.get(DEVICE_VARIABLE)
    if wanted == "cpu":
        return "cpu"
    if wanted == "mps" and torch.backends.mps.is_available():
        return "mps"
    if wanted in ("cuda", "", None) and gpu_ids():
        return "cuda"
    if not wanted:
        return "cpu"
    what = "is not available" if wanted in ("cuda", "mps") else "is not a device"
    remedy = "set it to cpu, cuda or mps, or unset it"
    raise UserError.at(f"{DEVICE_VARIABLE}={wanted}", what, remedy)


def gpu_ids() -> dict[int, str]:
    """{index: id} of the GPUs that this build of torch supports.

    An id is the same in all processes, an index depends on CUDA_VISIBLE_DEVICES. A GPU or a driver
    that cannot be used is named on stderr, once per process.
    """
    return {index: _gpu_id(index) for index in range(_count_gpus()) if _is_supported(index)}


@cache
def _count_gpus() -> int:
    reason: object = None
    with warnings.catch_warnings(record=True, action="always") as said:
        try:
            count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        except RuntimeError as error:
            count, reason = 0, error
    if said and not count:  # an old driver, for example
        reason = said[0].message
    if reason:
        print(f"{_first_sentence(reason)}; no GPU is used", file=sys.stderr)
    return count


def _first_sentence(reason: object) -> str:
    return re.split(r"\n|\. (?=[A-Z])", str(reason).strip())[0]


def _gpu_id(index: int) -> str:
    uuid = getattr(torch.cuda.get_device_properties(index), "uuid", None)
    return str(uuid or f"{platform.node()}-{index}")


@cache
def _is_supported(index: int) -> bool:
    """Whether a GPU can be used; if not, a line on stderr says why."""
    name, reason = f"GPU {index}", ""
    try:
        with warnings.catch_warnings(action="ignore"):  # torch would warn in several lines
            name, capability = _name_and_capability(index)
    except RuntimeError as error:  # it is broken, or other programs keep it for themselves
        reason = _first_sentence(error)
    else:
        if not (torch.version.hip or _runs_on(torch.cuda.get_arch_list(), capability)):
            version = ".".join(map(str, capability))
            reason = f"compute capability {version} is not supported by torch {torch.__version__}"
    if reason:
        print(f"{name}: {reason}; this GPU is not used", file=sys.stderr)
    return not reason


def _name_and_capability(index: int) -> tuple[str, tuple[int, int]]:
    return torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)


def _runs_on(archs: list[str], capability: tuple[int, int]) -> bool:
    """Whether code for one of `archs` (sm_80, compute_90, ...) runs on a GPU of that capability.

    Machine code (sm) runs on GPUs of the same major version and of the same or a higher minor one.
    PTX (compute) runs on all later GPUs.
    """
    for kind, major, minor in re.findall(r"(sm|compute)_(\d+)(\d)", " ".join(archs)):
        arch = int(major), int(minor)
        if arch <= capability and (kind == "compute" or arch[0] == capability[0]):
            return True
    return False


@contextmanager
def claim_gpu() -> Iterator[int | None]:
    """Hold one of this machine's GPUs as the only process; yields its index.

    Takes the first GPU that no other process holds. If all are taken, says so on stderr and waits.
    RUNS_PER_GPU lets more than one process hold a GPU.
    Yields None, at once, if another device is chosen. The GPU is free again when its process ends,
    even if that is killed. Raises UserError as `choose_device` does.
    """
    if choose_device() != "cuda":
        yield None
        return
    gpus = gpu_ids()
    places = [(index, place) for place in range(_runs_per_gpu()) for index in gpus]
    locks = {
        (index, place): FileLock(_lock_path(gpus[index], place), mode=0o666)
        for index, place in places
    }
    held = _lock_first_free(locks)
    if held is None:
        print(f"all GPUs are in use ({len(gpus)}); waiting for one", file=sys.stderr)
    while held is None:
        time.sleep(SECONDS_BETWEEN_TRIES)
        held = _lock_first_free(locks)
    try:
        yield held[0]
    finally:
        locks[held].release()


def _runs_per_gpu() -> int:
    text = os.environ.get(RUNS_PER_GPU) or "1"
    if not text.isdecimal() or int(text) == 0:
        raise UserError.at(f"{RUNS_PER_GPU}={text}", "not a positive number", "unset it")
    return int(text)


def _lock_path(gpu: str, place: int) -> Path:
    """Stays where it is: a lock file that one process removes can be held by two others."""
    ending = f"-{place}" if place else ""
    return Path(tempfile.gettempdir()) / f"spineseg-gpu-{gpu}{ending}.lock"


def _lock_first_free(locks: dict[tuple[int, int], FileLock]) -> tuple[int, int] | None:
    for held, lock in locks.items():
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        except OSError as error:
            raise write_error(Path(lock.lock_file), error) from None
        return held
    return None


def precision_for(width: int | None = None) -> Literal["bf16-mixed", "32-true"]:
    """The precision for a network of that width on the chosen device; None counts as wide.

    On a GPU that computes bf16 natively, bf16 from a width of `WIDE` on: casting the weights of a
    narrow network takes longer than it saves. On a CPU, bf16 with AMX, and with AVX512-BF16 from a
    width of `WIDE` on. Else float32.
    """
    device = choose_device()
    wide = (width or LARGEST_WIDTH) >= WIDE
    if device == "cuda":
        fast = wide and torch.cuda.is_bf16_supported(including_emulation=False)
    elif device == "cpu":
        can = _cpu_capabilities()
        fast = can.get("amx_bf16", False) or (can.get("avx512_bf16", False) and wide)
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


def _cpu_capabilities() -> dict[str, bool]:
    """CPU features reported by torch."""
    return getattr(torch.cpu, "get_capabilities", dict[str, bool])()


def describe_device(fabric: Fabric) -> str:
    """The device and its precision in words, for results."""
    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
        if fabric.strategy.precision.precision == "32-true" and torch.backends.cudnn.allow_tf32:
            return f"{name}, TF32"
    elif fabric.device.type == "mps":
        name = f"{platform.machine()} GPU (MPS)"
    else:
        threads = torch.get_num_threads()
        name = f"{platform.machine()} CPU, {threads} thread{'s' * (threads > 1)}"
    return f"{name}, {PRECISIONS[fabric.strategy.precision.precision]}"


@contextmanager
def single_thread_for_conv3d(enabled: bool) -> Iterator[None]:
    """Use one thread for 3-D convolutions on CPUs with AMX.

    With several threads their bf16 backward pass deadlocks (torch 2.13, oneDNN). One thread with
    AMX is faster than two without.
    """
    threads = torch.get_num_threads()
    if enabled and choose_device() == "cpu" and _cpu_capabilities().get("amx_bf16", False):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
