"""The networks, by name: `build_model` is the one way in."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from spineseg.models.aspp_unet import STAGES, ASPPUNet
from spineseg.models.deeplabv3 import DeepLabV3
from spineseg.models.segnet import SegNet
from spineseg.models.unet3d import UNet3D


@dataclass(frozen=True)
class Model:
    """A network and how it is trained."""

    title: str  # as tables and figures show it
    build: Callable[..., nn.Module]
    volumetric: bool = False  # takes whole volumes rather than slices
    noise: float = 0.0  # largest k of Eq. 5 added to the images in training

    @property
    def memory_format(self) -> torch.memory_format:
        """Channels innermost, which convolutions like best."""
        return torch.channels_last_3d if self.volumetric else torch.channels_last


def _aspp_at(*positions: int) -> Callable[..., nn.Module]:
    """ASPP-UNet with modules at these of the positions 1..4 only."""
    return partial(ASPPUNet, aspp=[stage + 1 in positions for stage in range(STAGES)])


def _ablated(*positions: int) -> Model:
    return Model(f"ASPP {'+'.join(map(str, positions))}", _aspp_at(*positions))


MODELS = {
    "unet": Model("U-Net-2D", _aspp_at()),
    "segnet": Model("SegNet", SegNet),
    "deeplabv3": Model("DeepLabV3", DeepLabV3),
    "unet3d": Model("U-Net-3D", UNet3D, volumetric=True),
    "aspp_unet": Model("ASPP-UNet", ASPPUNet),
    "aspp_unet_1": _ablated(1),
    "aspp_unet_2": _ablated(2),
    "aspp_unet_3": _ablated(3),
    "aspp_unet_4": _ablated(4),
    "aspp_unet_12": _ablated(1, 2),
    "aspp_unet_34": _ablated(3, 4),
    "aspp_unet_234": _ablated(2, 3, 4),
    "aspp_unet_wide": Model("full-width branches", partial(ASPPUNet, branch=1.0)),
    "aspp_unet_near": Model("rates 1, 2, 3", partial(ASPPUNet, rates=(1, 2, 3))),
    "aspp_unet_noise": Model("ASPP-UNet, trained with noise", ASPPUNet, noise=50.0),
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
    build = MODELS[name].build
    return build(width=width, num_classes=num_classes, in_channels=in_channels, **options)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
