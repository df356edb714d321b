"""The fast form of a network: the same weights and the same results in fewer passes over the maps.

`build_model` gives the network as the paper draws it. `make_fast` changes how it computes, where a
run trains and where it predicts.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spineseg.models.blocks import ASPP, ImagePooling
from spineseg.models.unet3d import UNet3D

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def make_fast(network: nn.Module) -> nn.Module:
    """Make a network of `build_model` fast, in place, and return it.

    In training mode its state dict stays that of the plain network, so its weights are saved and
    loaded as plain ones. In evaluation mode batch normalisation is fused into the convolutions, and
    the network can predict and no more. Raises ValueError for a network that is fast already.
    """
    if any(isinstance(module, FastASPP | PlanarConv3d) for module in network.modules()):
        raise ValueError("this network is fast already; load its state dict into a new one")
    if not network.training:
        fuse_batchnorm(network)
    for module in network.modules():
        if isinstance(module, ASPP):
            module.__class__ = FastASPP
            FastASPP.join_norms(module)  # type: ignore[arg-type]
        elif isinstance(module, UNet3D):
            module.head.__class__ = PlanarConv3d
    return network.to(memory_format=memory_format(network))  # type: ignore[call-overload]


def memory_format(network: nn.Module) -> torch.memory_format:
    """Channels last, the memory format in which convolutions are fastest."""
    has_3d = any(isinstance(module, nn.Conv3d) for module in network.modules())
    return torch.channels_last_3d if has_3d else torch.channels_last


def fuse_batchnorm(network: nn.Module) -> None:
    """Merge each batch normalisation of a network in evaluation mode into its convolution."""
    for layers in network.modules():
        if not isinstance(layers, nn.Sequential):
            continue
        for index in range(len(layers) - 1):
            convolution, norm = layers[index], layers[index + 1]
            if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, NORMS):
                layers[index] = fuse_conv_bn_eval(convolution, norm)
                layers[index + 1] = nn.Identity()


class FastASPP(ASPP):
    """Fig. 2 in fewer passes over the maps.

    BN and ReLU act on each channel alone, so here they follow the concatenation of the branches.
    The pooled values are the same at every pixel, so their part of the projection is one vector per
    image.
    """

    norm: nn.Module

    def join_norms(self) -> None:
        """Replace the BN layers of the branches by one layer with all their channels.

        In the state dict they stay apart. Fused branches have no BN layers to join.
        """
        norms = [branch[1] for branch in self._convolutions()]
        self.norm = nn.Identity()
        if isinstance(norms[0], nn.BatchNorm2d):
            channels = sum(norm.num_features for norm in norms)
            self.norm = nn.BatchNorm2d(channels, device=norms[0].weight.device)
            self.norm.load_state_dict(_joined([norm.state_dict() for norm in norms]))
            for branch in self._convolutions():
                branch[1] = nn.Identity()
            self.register_state_dict_post_hook(_split_norms)
            self.register_load_state_dict_pre_hook(_join_norms)

    def _convolutions(self) -> list[Any]:
        """All branches except image pooling."""
        return [branch for branch in self.branches if not isinstance(branch, ImagePooling)]

    def forward(self, x: Tensor) -> Tensor:
        maps = torch.cat([atrous_conv(x, branch[0]) for branch in self._convolutions()], dim=1)
        maps = F.relu(self.norm(maps))
        pooling: Any = self.branches[-1]
        if not isinstance(pooling, ImagePooling):
            return self.project(maps)
        layers: Any = self.project
        convolution, norm, relu = layers
        weight, pooled_weight = convolution.weight.tensor_split([maps.shape[1]], dim=1)
        pooled = pooling.project(x.mean((2, 3), keepdim=True))
        vector = F.conv2d(pooled, pooled_weight, convolution.bias)  # (N, outputs, 1, 1)
        return relu(norm(F.conv2d(maps, weight) + vector))


def _split_norms(module: Any, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    """Give the state dict of a FastASPP the names of the plain module."""
    names = module.norm.state_dict().keys()
    joined = {name: state.pop(f"{prefix}norm.{name}") for name in names}
    branches = len(module._convolutions())
    for name, values in joined.items():
        parts = values.chunk(branches) if values.ndim else [values.clone() for _ in range(branches)]
        for index, part in enumerate(parts):
            state[f"{prefix}branches.{index}.1.{name}"] = part


def _join_norms(module: Any, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Give a plain state dict the names of a FastASPP. What is missing stays missing."""
    parts = [
        {
            name: state.pop(key)
            for name in module.norm.state_dict()
            if (key := f"{prefix}branches.{index}.1.{name}") in state
        }
        for index in range(len(module._convolutions()))
    ]
    if all(part.keys() == parts[0].keys() for part in parts):
        state |= {f"{prefix}norm.{name}": value for name, value in _joined(parts).items()}


def _joined(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The state of BN layers as that of one layer with all their channels."""
    return {
        name: torch.cat([state[name] for state in states]) if value.ndim else value
        for name, value in states[0].items()
    }


def atrous_conv(x: Tensor, convolution: nn.Conv2d) -> Tensor:
    """A convolution that keeps the size of the map.

    If a map is not longer than the atrous rate, the outer taps of a 3x3 kernel meet nothing but the
    zeros around it. They are left out.
    """
    kernel, (rate, _) = convolution.weight, convolution.dilation
    if kernel.shape[2] == 3:
        rows, columns = (slice(None) if rate < length else slice(1, 2) for length in x.shape[2:])
        kernel = kernel[:, :, rows, columns]
    padding = [rate if taps == 3 else 0 for taps in kernel.shape[2:]]
    return F.conv2d(x, kernel, convolution.bias, 1, padding, rate)


class PlanarConv3d(nn.Conv3d):
    """A 1x1x1 convolution computed in the plane, the slices below each other.

    As a 3-D convolution its bf16 gradient hangs or crashes on CPUs with AMX (torch 2.13, oneDNN).
    """

    def forward(self, x: Tensor) -> Tensor:
        flat = F.conv2d(x.flatten(2, 3), self.weight.squeeze(2), self.bias)
        return flat.unflatten(2, x.shape[2:4])
