"""The fast form of a network: the same weights and the same results in fewer passes over the maps.

`build_model` gives the network as the paper draws it. `make_fast` changes how it computes, where a
run trains and where it predicts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from spineseg.models.blocks import ASPP
from spineseg.models.unet3d import UNet3D

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def make_fast(network: nn.Module) -> nn.Module:
    """Make a network of `build_model` fast, in place, and return it.

    In training mode the names and shapes in its state dict stay those of the plain network, so its
    weights can be saved and loaded as plain ones. In evaluation mode batch normalisation is fused
    into the convolutions: such a network can predict and no more.
    """
    for module in network.modules():
        if isinstance(module, ASPP):
            module.__class__ = FastASPP
        elif isinstance(module, UNet3D):
            module.head.__class__ = PlanarConv3d
    if not network.training:
        fuse_batchnorm(network)
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

    def forward(self, x: Tensor) -> Tensor:
        modules: list[Any] = list(self.branches)
        *branches, pooling = modules
        maps = torch.cat([atrous_conv(x, branch[0]) for branch in branches], dim=1)
        maps = F.relu(joint_batch_norm(maps, [branch[1] for branch in branches]))
        layers: Any = self.project
        convolution, norm, relu = layers
        weight, pooled_weight = convolution.weight.tensor_split([maps.shape[1]], dim=1)
        pooled = pooling.project(x.mean((2, 3), keepdim=True))
        vector = F.conv2d(pooled, pooled_weight, convolution.bias)  # (N, outputs, 1, 1)
        return relu(norm(F.conv2d(maps, weight) + vector))


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


def joint_batch_norm(maps: Tensor, norms: Sequence[nn.Module]) -> Tensor:
    """Normalise concatenated maps (N, channels of all, H, W) by the BN layers of their parts.

    In training mode it updates the running statistics of each layer. Layers that were fused into
    their convolutions leave the maps as they are.
    """
    layers = [norm for norm in norms if isinstance(norm, nn.BatchNorm2d)]
    if not layers:
        return maps
    mean = torch.cat([layer.running_mean for layer in layers])  # type: ignore[misc]
    variance = torch.cat([layer.running_var for layer in layers])  # type: ignore[misc]
    weight = torch.cat([layer.weight for layer in layers])
    bias = torch.cat([layer.bias for layer in layers])
    first = layers[0]
    normalised = F.batch_norm(
        maps, mean, variance, weight, bias, first.training, first.momentum or 0.0, first.eps
    )
    if first.training:
        _store_statistics(layers, mean, variance)
    return normalised


@torch.no_grad()
def _store_statistics(layers: Sequence[nn.BatchNorm2d], mean: Tensor, variance: Tensor) -> None:
    sizes = [layer.num_features for layer in layers]
    for layer, own_mean, own_variance in zip(
        layers, mean.split(sizes), variance.split(sizes), strict=True
    ):
        layer.running_mean.copy_(own_mean)  # type: ignore[union-attr, operator]
        layer.running_var.copy_(own_variance)  # type: ignore[union-attr, operator]
        layer.num_batches_tracked.add_(1)  # type: ignore[union-attr, operator]


class PlanarConv3d(nn.Conv3d):
    """A 1x1x1 convolution computed in the plane, the slices below each other.

    As a 3-D convolution its bf16 gradient hangs or crashes on CPUs with AMX (torch 2.13, oneDNN).
    """

    def forward(self, x: Tensor) -> Tensor:
        flat = F.conv2d(x.flatten(2, 3), self.weight.squeeze(2), self.bias)
        return flat.unflatten(2, x.shape[2:4])
