"""Several processes for one run, on one host or many: DDP through Lightning Fabric.

What a run computes does not depend on their number, but for rounding: see docs/scaling.md.
"""

import logging
import multiprocessing
import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning_fabric.strategies import DDPStrategy
from torch import Tensor, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException
from torch.nn.modules.batchnorm import _BatchNorm

from spineseg.training.device import make_fabric


class ProcessError(RuntimeError):
    """One of the processes of a run failed, or was killed."""


def count_processes(devices: int = 1) -> int:
    """How many processes take part: `devices`, or all that torchrun started.

    Raises ValueError where both are given and differ.
    """
    if not TorchElasticEnvironment.detect():
        return devices
    if devices not in (1, started := int(os.environ["LOCAL_WORLD_SIZE"])):
        raise ValueError(f"{devices} devices, but torchrun started {started} processes a host")
    return int(os.environ["WORLD_SIZE"])


def parallel_fabric(devices: int = 1) -> Fabric:
    """The fabric of so many processes, each with a GPU of its own or a share of the CPU.

    `launch` starts them. Those that torchrun started, on this host and others, join each other
    here; the fabric is then theirs.
    """
    processes = count_processes(devices)
    if TorchElasticEnvironment.detect():
        local = int(os.environ["LOCAL_WORLD_SIZE"])
        strategy = DDPStrategy(cluster_environment=TorchElasticEnvironment())
        fabric = make_fabric(local, processes // local, strategy)
        fabric.launch()
        return fabric
    if processes == 1:
        return make_fabric()
    strategy = DDPStrategy(cluster_environment=LightningEnvironment(), start_method="spawn")
    return make_fabric(processes, strategy=strategy)


def launch(fabric: Fabric, function: Callable[..., None], *arguments: Any) -> None:
    """Call function(fabric, *arguments) in every process of the fabric, to its end.

    Where one of several fails, the others are ended, and ProcessError says what the first said.
    """
    if fabric.world_size == 1 or dist.is_initialized():
        fabric.launch(function, *arguments)
        return
    # Whom it ends after a failure is no news.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    try:
        # Bound beforehand: Fabric would look for networks in arguments of its own.
        fabric.launch(partial(_say_what_fails, function, arguments))
    except ProcessRaisedException as error:
        _, said, words = str(error).rpartition(f"{ProcessError.__module__}.ProcessError: ")
        if not said:
            raise
        raise ProcessError(words.strip()) from None
    except ProcessExitedException as error:
        how = error.signal_name or f"exit code {error.exit_code}"
        raise ProcessError(
            f"process {error.error_index + 1} of {fabric.world_size} was ended ({how}); the same "
            "command goes on after the last whole epoch"
        ) from None
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        os.environ.pop("MASTER_PORT", None)  # the next launch looks for a free one again


def _say_what_fails(
    function: Callable[..., None], arguments: Sequence[Any], fabric: Fabric
) -> None:
    """What a process raises reaches the one that started it as text alone."""
    try:
        function(fabric, *arguments)
    except (ValueError, RuntimeError, OSError) as error:
        raise ProcessError(str(error)) from error


def is_first_process() -> bool:
    """Whether this process is the one to score and to print."""
    return not dist.is_initialized() or dist.get_rank() == 0


def share_statistics(network: nn.Module, fabric: Fabric) -> nn.Module:
    """Let BN normalise by the whole batch, of which each process has a share."""
    if fabric.world_size == 1:
        return network
    if fabric.device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.__class__ = CPUSyncBatchNorm
    return network


class CPUSyncBatchNorm(_BatchNorm):
    """What nn.SyncBatchNorm is on GPUs, the only place where torch has it."""

    def _check_input_dim(self, x: Tensor) -> None:
        """Any number of axes."""

    def forward(self, x: Tensor) -> Tensor:
        """(N, channels, *axes) normalised by the mean and SD over the N of all processes."""
        if not self.training:
            return super().forward(x)
        axes = [0, *range(2, x.ndim)]

        def spread(values: Tensor) -> Tensor:
            return values.reshape(1, -1, *[1] * (x.ndim - 2))

        values = x.to(torch.promote_types(x.dtype, torch.float32))
        count = values.new_tensor([values.numel() / values.shape[1]])
        sums = _Sum.apply(torch.cat([values.sum(axes), count]))
        mean, count = sums[:-1] / sums[-1], sums[-1].detach()
        centred = values - spread(mean)
        variance = _Sum.apply(centred.square().sum(axes)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)  # type: ignore[union-attr]
            for running, new in (
                (self.running_mean, mean),
                (self.running_var, variance * count / (count - 1)),
            ):
                running.lerp_(new, self.momentum)  # type: ignore
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return torch.addcmul(spread(self.bias), centred, spread(scale)).to(x.dtype)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient.contiguous())
