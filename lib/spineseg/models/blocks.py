"""The modules of the paper's Fig. 2 and 3."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBNReLU(nn.Sequential):
    """Convolution, batch normalisation, ReLU; the size of the map is divided by `stride`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        rate: int = 1,
        bias: bool = False,
        stride: int = 1,
    ):
        padding = rate * (kernel // 2)
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, dilation=rate, bias=bias),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class DoubleConv(nn.Sequential):
    """The DC module (section 2.3, Fig. 3): twice a 3x3 convolution, BN and ReLU.

    Its convolutions keep their biases, as U-Net's do; those of ASPP have none, as DeepLab's.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            ConvBNReLU(inputs, outputs, 3, bias=True), ConvBNReLU(outputs, outputs, 3, bias=True)
        )


class ImagePooling(nn.Module):
    """The mean over the whole map through a 1x1 convolution, spread over the map again."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.project = ConvBNReLU(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.project(x.mean((2, 3), keepdim=True))  # (N, outputs, 1, 1)
        # From one pixel, bilinear interpolation yields that pixel everywhere.
        return pooled.expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (section 2.2, Fig. 2); the size of the map is kept.

    Five parallel branches (1x1, one 3x3 for each atrous rate, image pooling), joined and projected
    to `outputs`, by default back to `channels`. The paper does not give the width of a branch.
    """

    def __init__(
        self,
        channels: int,
        branch_channels: int,
        rates: Sequence[int] = (6, 12, 18),
        outputs: int | None = None,
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            [
                ConvBNReLU(channels, branch_channels, 1),
                *(ConvBNReLU(channels, branch_channels, 3, rate) for rate in rates),
                ImagePooling(channels, branch_channels),
            ]
        )
        self.project = ConvBNReLU(len(self.branches) * branch_channels, outputs or channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        joined = torch.cat([branch(x) for branch in self.branches], dim=1)
        return self.project(joined)


def pad_to_multiple(x: Tensor, multiple: int | Sequence[int]) -> Tensor:
    """Repeat the last values of each axis until its length is a multiple; x is (N, C, *axes).

    `multiple` is one for all axes, or one for each.
    """
    axes = x.shape[2:]
    multiples = [multiple] * len(axes) if isinstance(multiple, int) else multiple
    missing = [-length % step for length, step in zip(axes, multiples, strict=True)]
    # F.pad wants (before, after) of the last axis first.
    padding = [side for after in reversed(missing) for side in (0, after)]
    return F.pad(x, padding, mode="replicate")
