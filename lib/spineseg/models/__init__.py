"""The networks, by name: `build_model` is the one way in.

A network's module, and torch, are imported when one is built: names and titles come at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True)
class Model:
    """A network and how it is trained."""

    title: str  # as tables and figures show it
    network: str  # module.Class in this package
    options: dict[str, Any] = field(default_factory=dict)  # of the class
    volumetric: bool = False  # takes whole volumes rather than slices
    noise: float = 0.0  # largest k of Eq. 5 added to the images in training

    @property
    def module(self) -> str:
        """The full name of the module that the network stands in."""
        return f"{__name__}.{self.network.partition('.')[0]}"

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels innermost, which convolutions like best."""
        import torch

        return torch.channels_last_3d if self.volumetric else torch.channels_last


ASPP_UNET = "aspp_unet.ASPPUNet"


def _aspp_at(*positions: int) -> dict[str, Any]:
    """ASPP-UNet with modules at these of the positions 1..4 only."""
    return {"aspp": [position in positions for position in (1, 2, 3, 4)]}


def _ablated(*positions: int) -> Model:
    return Model(f"ASPP {'+'.join(map(str, positions))}", ASPP_UNET, _aspp_at(*positions))


MODELS = {
    "unet": Model("U-Net-2D", ASPP_UNET, _aspp_at()),
    "segnet": Model("SegNet", "segnet.SegNet"),
    "deeplabv3": Model("DeepLabV3", "deeplabv3.DeepLabV3"),
    "unet3d": Model("U-Net-3D", "unet3d.UNet3D", volumetric=True),
    "aspp_unet": Model("ASPP-UNet", ASPP_UNET),
    "aspp_unet_1": _ablated(1),
    "aspp_unet_2": _ablated(2),
    "aspp_unet_3": _ablated(3),
    "aspp_unet_4": _ablated(4),
    "aspp_unet_12": _ablated(1, 2),
    "aspp_unet_34": _ablated(3, 4),
    "aspp_unet_234": _ablated(2, 3, 4),
    "aspp_unet_wide": Model("full-width branches", ASPP_UNET, {"branch": 1.0}),
    "aspp_unet_near": Model("rates 1, 2, 3", ASPP_UNET, {"rates": (1, 2, 3)}),
    "aspp_unet_noise": Model("ASPP-UNet, trained with noise", ASPP_UNET, noise=50.0),
}


def build_model(
    name: str, width: int = 64, num_classes: int = 9, in_channels: int = 1, **options: Any
) -> nn.Module:
    """Build a network that maps (N, in_channels, H, W) to logits (N, num_classes, H, W).

    `width` is the number of channels of the first stage (64 in the paper); `options` go to the
    network itself. U-Net-3D has the slices of a volume as a third axis before H. Raises ValueError,
    listing the known names, for an unknown one.
    """
    if name not in MODELS:
        raise ValueError(f"{name}: no such model; choose one of {', '.join(MODELS)}")
    model = MODELS[name]
    network = getattr(import_module(model.module), model.network.rpartition(".")[2])
    sizes = {"width": width, "num_classes": num_classes, "in_channels": in_channels}
    return network(**sizes, **{**model.options, **options})


def count_parameters(model: nn.Module) -> int:
    """The number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
