"""Training steps and inference of each network, beside its plain version and beside peers."""

from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spineseg.benchmark import cost
from spineseg.benchmark.timing import gemm_rate, time_interleaved
from spineseg.labels import NUM_CLASSES
from spineseg.methods import NNUNET, nnunet_is_installed
from spineseg.models import MODELS, build_model
from spineseg.models.folding import fold
from spineseg.models.plain import plain
from spineseg.training.device import make_fabric, single_thread_for_conv3d

TRAINING, INFERENCE = "training step", "inference"
OURS, PLAIN = "ours", "plain: float32, channels first"
BASIC_UNET = "MONAI BasicUNet"
PLAIN_CONV_UNET = "nnU-Net PlainConvUNet"
WIDTH_STEP = 4


@dataclass(frozen=True)
class Size:
    """What a network is given, and how wide it is."""

    rows: int
    columns: int
    width: int
    batch: int
    budget: float  # seconds for one comparison
    models: tuple[str, ...] = (
        "unet",
        "segnet",
        "deeplabv3",
        "unet3d",
        "aspp_unet",
        "aspp_unet_wide",
    )

    def shape(self, name: str) -> tuple[int, ...]:
        """Of the input; a volumetric network takes one volume, of the paper's slices."""
        if name in MODELS and MODELS[name].volumetric:
            return (1, 1, cost.SLICES, self.rows, self.columns)
        return (self.batch, 1, self.rows, self.columns)


FLAT = ("unet", "segnet", "deeplabv3", "aspp_unet", "aspp_unet_wide")
WIDE = ("unet", "aspp_unet", "aspp_unet_wide")
SIZES = {
    (TRAINING, "small"): Size(112, 64, 16, 4, 6),
    (TRAINING, "small, paper's width"): Size(112, 64, 64, 8, 15, WIDE),
    (TRAINING, "paper's"): Size(880, 464, 64, 2, 30, ("unet", "aspp_unet")),  # minutes otherwise
    (INFERENCE, "small"): Size(112, 64, 16, 12, 4),
    (INFERENCE, "small, paper's width"): Size(112, 64, 64, 12, 8, WIDE),
    (INFERENCE, "paper's"): Size(880, 464, 64, 1, 15, FLAT),
}


def against_plain(part: str, size_name: str, name: str) -> list[dict[str, Any]]:
    """A network as it runs here against itself as the figures draw it, in float32, NCHW, eager."""
    size = SIZES[part, size_name]
    network = build_model(name, size.width)
    shape = size.shape(name)
    work = training_step if part == TRAINING else inference_step
    contenders = {OURS: work(network, shape, name), PLAIN: _plain_work(part, network, shape)}
    with torch.device("meta"):
        drawn = plain(build_model(name, size.width)).eval()
    gflops = _gflops(drawn, shape, part)
    found = time_interleaved(contenders, size.budget)
    peak = gemm_rate() / 1e9
    rows = []
    for version, numbers in found.items():
        rate = gflops / numbers["seconds"]
        row = {"part": part, "size": size_name, **_words(shape), "width": size.width, "what": name}
        row |= {"version": version, **numbers, "gflops": gflops, "gflops_per_s": rate}
        if version == OURS:
            row |= {"gemm_gflops_per_s": peak, "share_of_peak": rate / peak}
        rows.append(row)
    return rows


def _words(shape: tuple[int, ...]) -> dict[str, int]:
    return {"rows": shape[-2], "columns": shape[-1], "batch": shape[0]}


def _gflops(network: nn.Module, shape: tuple[int, ...], part: str) -> float:
    """Of a call: the convolutions of a forward pass, and in training twice as many again."""
    passes = 3 if part == TRAINING else 1
    return passes * cost.flops(network, shape) * cost.images(shape) / 1e9


def training_step(network: nn.Module, shape: tuple[int, ...], name: str) -> Callable[[], None]:
    """A step as `train.Training` does it, without drawing and varying the batch."""
    layout = cost.memory_format(name)
    fabric = make_fabric()
    network = deepcopy(network).train().to(memory_format=layout)  # type: ignore[call-overload]
    network, optimizer = fabric.setup(network, torch.optim.AdamW(network.parameters(), fused=True))
    inputs, masks = (fabric.to_device(tensor) for tensor in _batch(shape))
    inputs = inputs.contiguous(memory_format=layout)

    def step() -> None:
        with single_thread_for_conv3d(len(shape) == 5):
            optimizer.zero_grad()
            fabric.backward(F.cross_entropy(network(inputs), masks))
            optimizer.step()

    return step


def inference_step(network: nn.Module, shape: tuple[int, ...], name: str) -> Callable[[], None]:
    """A pass as `predict.NetworkSegmenter` does it."""
    layout = cost.memory_format(name)
    fabric = make_fabric()
    fast = fabric.setup_module(fold(deepcopy(network).eval()).to(memory_format=layout))  # type: ignore[call-overload]
    inputs = fabric.to_device(_batch(shape)[0]).contiguous(memory_format=layout)
    return torch.inference_mode()(lambda: fast(inputs))


def _plain_work(part: str, network: nn.Module, shape: tuple[int, ...]) -> Callable[[], None]:
    device = make_fabric().device
    network = plain(network).to(device)
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
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(shape, generator=generator)
    masks = torch.randint(NUM_CLASSES, (shape[0], *shape[2:]), generator=generator)
    return images, masks


def against_peers(part: str, size_name: str, peer: str) -> list[dict[str, Any]]:
    """U-Net-2D as it runs here against another's U-Net of the same arithmetic.

    The peer has the widths that it comes with; ours is as wide as makes its arithmetic nearest.
    What still differs is taken out of `ratio`, the time for equal work. The peer runs twice: as it
    comes (float32, channels first), and helped by what helps ours.
    """
    if peer == PLAIN_CONV_UNET and not nnunet_is_installed():
        return []
    size = SIZES[part, size_name]
    shape = (size.batch, 1, size.rows, size.columns)
    with torch.device("meta"):
        abstract, peer_shape = _peer(peer, shape)
    width, ours, theirs = equal_width(shape, abstract, peer_shape, part)
    network, _ = _peer(peer, shape)
    work = training_step if part == TRAINING else inference_step
    contenders = {
        OURS: work(build_model("unet", width), shape, "unet"),
        f"{peer}, as it comes": _plain_work(part, deepcopy(network), peer_shape),
        f"{peer}, bf16 and channels last": work(network, peer_shape, peer),
    }
    rows = []
    for version, numbers in time_interleaved(contenders, size.budget).items():
        gflops = ours if version == OURS else theirs
        equal = {key: numbers[key] * ours / gflops for key in numbers if key.startswith("ratio")}
        row: dict[str, Any] = {
            "part": part,
            "size": size_name,
            **_words(shape),
            "what": peer,
            "version": version,
        }
        row["width"] = width if version == OURS else None
        rate = gflops / numbers["seconds"]
        rows.append({**row, **numbers, **equal, "gflops": gflops, "gflops_per_s": rate})
    return rows


def equal_width(
    shape: tuple[int, ...], peer: nn.Module, peer_shape: tuple[int, ...], part: str = TRAINING
) -> tuple[int, float, float]:
    """How wide U-Net-2D has to be for a peer's arithmetic, and the GFLOP of a call of both.

    `peer` is on the meta device.
    """
    theirs = _gflops(peer, peer_shape, part)
    with torch.device("meta"):
        widths = {
            width: _gflops(build_model("unet", width).eval(), shape, part)
            for width in range(WIDTH_STEP, 129, WIDTH_STEP)
        }
    width = min(widths, key=lambda width: abs(widths[width] - theirs))
    return width, widths[width], theirs


def _peer(name: str, shape: tuple[int, ...]) -> tuple[nn.Module, tuple[int, ...]]:
    """Another's U-Net as it comes, for inference, and the input that it takes instead."""
    if name == PLAIN_CONV_UNET:
        network, (_, _, rows, columns) = cost.build(NNUNET, *shape[2:])
        return network, (*shape[:2], rows, columns)
    from monai.networks.nets import BasicUNet

    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=NUM_CLASSES).eval(), shape


def measurements() -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    for (part, size_name), size in SIZES.items():
        for name in size.models:
            yield against_plain, (part, size_name, name)
    for part in (TRAINING, INFERENCE):
        for size_name in ("small", "paper's"):
            for peer in (BASIC_UNET, PLAIN_CONV_UNET):
                yield against_peers, (part, size_name, peer)
