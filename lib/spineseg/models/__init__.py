"""The networks as the paper draws them. `build_model` builds one by its method's name.

Networks and torch are imported only when one is built.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spineseg.methods import METHODS, OWN_NETWORKS

if TYPE_CHECKING:
    from torch import nn


def build_model(
    name: str,
    width: int = 64,
    num_classes: int = 9,
    in_channels: int = 1,
    stages: int = 4,
    **options: Any,
) -> nn.Module:
    """Build a network that maps (N, in_channels, H, W) to logits (N, num_classes, H, W).

    `width` is the number of channels of the first stage (64 in the paper), `stages` the number of
    times that maps are halved (4 in the paper). DeepLabV3 and methods with a depth of their own
    ignore it. `options` go to the network's class. U-Net-3D has the slices of a volume as a third
    axis before H.
    Raises ValueError, which lists the known names, for an unknown one.
    """
    if name not in OWN_NETWORKS:
        raise ValueError(f"{name}: no such network; choose one of {', '.join(OWN_NETWORKS)}")
    method = METHODS[name]
    module, _, network = method.network.partition(".")
    build = getattr(import_module(f"{__name__}.{module}"), network)
    sizes: dict[str, int] = {"width": width, "num_classes": num_classes, "in_channels": in_channels}
    depth = {"stages": stages} if method.has_stages else {}
    return build(**sizes, **{**depth, **method.options, **options})
