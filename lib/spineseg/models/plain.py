"""The modules as the paper's figures draw them: what is taught, and what tests and benchmarks
compare the faster ones with."""

from collections.abc import Sequence
from copy import deepcopy

import torch
from torch import Tensor, nn

from spineseg.models import blocks
from spineseg.models.blocks import ConvBNReLU


class ImagePooling(blocks.ImagePooling):
    """The mean over the whole map through a 1x1 convolution, spread over the map again."""

    def forward(self, x: Tensor) -> Tensor:
        # From one pixel, bilinear interpolation yields that pixel everywhere.
        return super().forward(x).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Fig. 2: five parallel branches, each with BN and ReLU, joined and projected."""

    def __init__(self, channels: int, branch_channels: int, rates: Sequence[int], outputs: int):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvBNReLU(channels, branch_channels, 1),
                *(ConvBNReLU(channels, branch_channels, 3, rate) for rate in rates),
                ImagePooling(channels, branch_channels),
            ]
        )
        self.project = ConvBNReLU(len(self.branches) * branch_channels, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        return self.project(joined)


def plain_aspp(module: blocks.ASPP) -> ASPP:
    """The module of Fig. 2 with the weights and statistics of a faster one, on its device."""
    drawn = ASPP(*module.sizes).to(next(module.parameters()))
    *branches, pooling = drawn.branches
    for branch, *layers in zip(branches, module.branches, module.branch_norms(), strict=True):
        branch.load_state_dict(nn.Sequential(*layers).state_dict())
    pooling.load_state_dict(module.pooling.state_dict())
    drawn.project.load_state_dict(module.project.state_dict())
    return drawn.train(module.training)


def plain(network: nn.Module) -> nn.Module:
    """A copy of a network with each ASPP module as Fig. 2 draws it."""
    copy = deepcopy(network)
    for parent in list(copy.modules()):
        for name, child in parent.named_children():
            if isinstance(child, blocks.ASPP):
                setattr(parent, name, plain_aspp(child))
    return copy
