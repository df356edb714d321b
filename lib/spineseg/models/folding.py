"""For inference alone: batch normalisation folded into the convolutions before it."""

from typing import Any

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def fold(network: nn.Module) -> nn.Module:
    """Make a network in evaluation mode compute the same in fewer passes over maps; returns it."""
    for module in network.modules():
        if hasattr(module, "branch_norms"):
            _fold_join(module)
        elif isinstance(module, nn.Sequential):
            _fold_pairs(module)
    return network


def _fold_pairs(layers: nn.Sequential) -> None:
    for index in range(len(layers) - 1):
        convolution, norm = layers[index], layers[index + 1]
        if isinstance(convolution, CONVOLUTIONS) and isinstance(norm, NORMS):
            layers[index] = fuse_conv_bn_eval(convolution, norm)
            layers[index + 1] = nn.Identity()


def _fold_join(module: Any) -> None:
    """Each branch takes its part of the norm that follows the join of them all."""
    for index, norm in enumerate(module.branch_norms()):
        module.branches[index] = fuse_conv_bn_eval(module.branches[index], norm)
    module.norm = nn.Identity()
