"""The networks, by name: `build_model` is the one way in."""

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from spineseg.models.aspp_unet import STAGES, ASPPUNet

MODELS: dict[str, Callable[..., nn.Module]] = {
    "aspp_unet": ASPPUNet,
    "unet": partial(ASPPUNet, aspp=(False,) * STAGES),
}


def build_model(
    name: str, width: int = 64, num_classes: int = 9, in_channels: int = 1, **options: Any
) -> nn.Module:
    """Build a network that maps (N, in_channels, H, W) to logits (N, num_classes, H, W).

    `width` is the number of channels of the first stage (64 in the paper); `options` go to the
    network itself. Raises ValueError, listing the known names, for an unknown one.
    """
    if name not in MODELS:
        raise ValueError(f"{name}: no such model; choose one of {', '.join(MODELS)}")
    return MODELS[name](width=width, num_classes=num_classes, in_channels=in_channels, **options)


def count_parameters(model: nn.Module) -> int:
    """The number of trainable values."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
