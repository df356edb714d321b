"""Training steps and inference of each network, beside its plain form and beside other packages."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from spineseg.benchmark.timing import gemm_rate, time_interleaved
from spineseg.labels import NUM_CLASSES
from spineseg.methods import METHODS, nnunet_is_installed
from spineseg.models import build_model
from spineseg.models.counting import COLUMNS, ROWS, SLICES, flops, on_meta, slices_in
from spineseg.models.fast import make_fast, memory_format
from spineseg.nnunet.network import planned_network
from spineseg.training.device import (
    PRECISIONS,
    describe_device,
    make_fabric,
    single_thread_for_conv3d,
)

TRAINING, INFERENCE = "training step", "inference"
OURS, PLAIN_VERSION = "ours", "plain: float32, channels first"
BASIC_UNET = "MONAI BasicUNet"
PLAIN_CONV_UNET = "nnU-Net PlainConvUNet"
PASSES = {TRAINING: 3, INFERENCE: 1}  # a backward pass computes as much as two forward passes
WIDTH_STEP, MAX_WIDTH = 4, 128  # of the widths tried for equal arithmetic
IN_PLANE = ("unet", "segnet", "deeplabv3", "aspp_unet", "aspp_unet_wide")
ALL_NETWORKS = ("unet", "segnet", "deeplabv3", "unet3d", "aspp_unet", "aspp_unet_wide")
UNETS = ("unet", "aspp_unet", "aspp_unet_wide")


@dataclass(frozen=True)
class Size:
    """The input and width of networks that are compared."""

    rows: int
    columns: int
    width: int  # channels of the first stage
    batch: int
    budget: float  # seconds for one comparison
    networks: tuple[str, ...] = ALL_NETWORKS

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of the input; a volumetric network takes one volume of the paper's slices."""
        if METHODS[name].volumetric:
            return (1, 1, SLICES, self.rows, self.columns)
        return (self.batch, 1, self.rows, self.columns)


SIZES = {
    (TRAINING, "small"): Size(112, 64, 16, 4, 6),
    (TRAINING, "small, paper's width"): Size(112, 64, 64, 8, 15, UNETS),
    # The other networks would take minutes.
    (TRAINING, "paper's"): Size(ROWS, COLUMNS, 64, 2, 30, ("unet", "aspp_unet")),
    (INFERENCE, "small"): Size(112, 64, 16, 12, 4),
    (INFERENCE, "small, paper's width"): Size(112, 64, 64, 12, 8, UNETS),
    (INFERENCE, "paper's"): Size(ROWS, COLUMNS, 64, 1, 15, IN_PLANE),
}


def against_plain(part: str, size_name: str, name: str) -> list[dict[str, Any]]:
    """A network as this project runs it, beside its plain form in float32 and NCHW."""
    size = SIZES[part, size_name]
    network = build_model(name, size.width)
    shape = size.shape(name)
    fabric = make_fabric(size.width)
    contenders = {
        OURS: _fast_step(part, network, shape, fabric),
        PLAIN_VERSION: _plain_step(part, network, shape, fabric.device),
    }
    gflops = _gflops(on_meta(name, width=size.width), shape, part)
    peak = gemm_rate() / 1e9
    rows = []
    for version, numbers in time_interleaved(contenders, size.budget).items():
        row = {
            **_identity(part, size_name, shape, fabric),
            "width": size.width,
            "what": name,
            "version": version,
            **_with_rate(numbers, gflops),
        }
        if version == OURS:
            row |= {"gemm_gflops_per_s": peak, "share_of_peak": row["gflops_per_s"] / peak}
        rows.append(row)
    return rows


def _identity(part: str, size_name: str, shape: tuple[int, ...], fabric: Fabric) -> dict[str, Any]:
    return {
        "device": describe_device(fabric),
        "part": part,
        "size": size_name,
        "rows": shape[-2],
        "columns": shape[-1],
        "batch": shape[0],
    }


def _with_rate(numbers: dict[str, float], gflops: float) -> dict[str, float]:
    return {**numbers, "gflops": gflops, "gflops_per_s": gflops / numbers["seconds"]}


def _gflops(network: nn.Module, shape: tuple[int, ...], part: str) -> float:
    """GFLOP per call of a network on the meta device, convolutions only."""
    return PASSES[part] * flops(network, shape) * slices_in(shape) / 1e9


def _fast_step(
    part: str, network: nn.Module, shape: tuple[int, ...], fabric: Fabric
) -> Callable[[], Any]:
    step = training_step if part == TRAINING else inference_step
    return step(network, shape, fabric)


def training_step(network: nn.Module, shape: tuple[int, ...], fabric: Fabric) -> Callable[[], None]:
    """A call that trains a fast copy of a network on one batch, as `training.loop` does.

    Drawing and augmenting the batch are not included.
    """
    network = make_fast(deepcopy(network).train())
    layout = memory_format(network)
    network, optimizer = fabric.setup(network, torch.optim.AdamW(network.parameters(), fused=True))
    inputs, masks = (fabric.to_device(tensor) for tensor in _batch(shape))
    inputs = inputs.contiguous(memory_format=layout)

    def step() -> None:
        with single_thread_for_conv3d(len(shape) == 5):
            optimizer.zero_grad()
            fabric.backward(F.cross_entropy(network(inputs), masks))
            optimizer.step()

    return step


def inference_step(
    network: nn.Module, shape: tuple[int, ...], fabric: Fabric
) -> Callable[[], Tensor]:
    """A call of the forward pass of a fast copy, as `inference.network` does it."""
    fast = make_fast(deepcopy(network).eval())
    layout = memory_format(fast)
    fast = fabric.setup_module(fast)
    inputs = fabric.to_device(_batch(shape)[0]).contiguous(memory_format=layout)
    return torch.inference_mode()(lambda: fast(inputs))


def _plain_step(
    part: str, network: nn.Module, shape: tuple[int, ...], device: torch.device
) -> Callable[[], Any]:
    """The same call of a copy of the network itself, in float32 and NCHW."""
    network = deepcopy(network).to(device)
    inputs, masks = (tensor.to(device) for tensor in _batch(shape))
    if part == INFERENCE:
        network.eval()
        return torch.inference_mode()(lambda: network(inputs))
    network.train()
    optimizer = torch.optim.AdamW(network.parameters())

    def step() -> None:
        optimizer.zero_grad()
        F.cross_entropy(network(inputs), masks).backward()
        optimizer.step()

    return step


def _batch(shape: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Random images and masks."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=generator)
    masks = torch.randint(NUM_CLASSES, (shape[0], *shape[2:]), generator=generator)
    return images, masks


def against_peer(part: str, size_name: str, peer: str) -> list[dict[str, Any]]:
    """U-Net-2D as this project runs it, beside the U-Net of another package.

    The peer has its default widths. Ours has the width at which its arithmetic is nearest to the
    peer's. `ratio` is the time for equal work: the remaining difference in arithmetic is divided
    out. The peer runs twice: as it comes (float32, NCHW), and with our precision and memory format.
    """
    if peer == PLAIN_CONV_UNET and not nnunet_is_installed():
        return []
    size = SIZES[part, size_name]
    shape = (size.batch, 1, size.rows, size.columns)
    with torch.device("meta"):
        abstract, peer_shape = _build_peer(peer, shape)
    width, our_gflops, peer_gflops = equal_width(shape, abstract, peer_shape, part)
    fabric = make_fabric(width)
    network, _ = _build_peer(peer, shape)
    precision = PRECISIONS[fabric.strategy.precision.precision]
    contenders = {
        OURS: _fast_step(part, build_model("unet", width), shape, fabric),
        f"{peer}, as it comes": _plain_step(part, network, peer_shape, fabric.device),
        f"{peer}, {precision} and channels last": _fast_step(part, network, peer_shape, fabric),
    }
    rows = []
    for version, numbers in time_interleaved(contenders, size.budget).items():
        gflops = our_gflops if version == OURS else peer_gflops
        rows.append(
            {
                **_identity(part, size_name, shape, fabric),
                "what": peer,
                "version": version,
                "width": width if version == OURS else None,
                **_with_rate(numbers, gflops),
                **ratios_for_equal_work(numbers, our_gflops / gflops),
            }
        )
    return rows


def ratios_for_equal_work(numbers: dict[str, float], work: float) -> dict[str, float]:
    """The ratios of a timing times `work`, our arithmetic as a multiple of the contender's."""
    return {key: value * work for key, value in numbers.items() if key.startswith("ratio")}


def equal_width(
    shape: tuple[int, ...], peer: nn.Module, peer_shape: tuple[int, ...], part: str = TRAINING
) -> tuple[int, float, float]:
    """The width at which U-Net-2D's arithmetic is nearest to a peer's, and the GFLOP of both.

    `peer` is on the meta device.
    """
    wanted = _gflops(peer, peer_shape, part)
    gflops = {
        width: _gflops(on_meta("unet", width=width), shape, part)
        for width in range(WIDTH_STEP, MAX_WIDTH + 1, WIDTH_STEP)
    }
    width = min(gflops, key=lambda width: abs(gflops[width] - wanted))
    return width, gflops[width], wanted


def _build_peer(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """Another package's U-Net in evaluation mode, and the shape of its padded input."""
    if name == PLAIN_CONV_UNET:
        network, (_, _, rows, columns) = planned_network(*shape[2:])
        return network, (*shape[:2], rows, columns)
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=NUM_CLASSES).eval(), shape


def measurements() -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    for (part, size_name), size in SIZES.items():
        for name in size.networks:
            yield against_plain, (part, size_name, name)
    for part in (TRAINING, INFERENCE):
        for size_name in ("small", "paper's"):
            for peer in (BASIC_UNET, PLAIN_CONV_UNET):
                yield against_peer, (part, size_name, peer)
