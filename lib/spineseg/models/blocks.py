"""The modules of the paper's Fig. 2 and 3, as they are drawn there."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ConvBNReLU(nn.Sequential):
    """Convolution, batch normalisation, ReLU. `stride` divides the size of the map."""

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

    Its convolutions have biases, as U-Net's do. Those of ASPP have none, as DeepLab's.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            ConvBNReLU(inputs, outputs, 3, bias=True), ConvBNReLU(outputs, outputs, 3, bias=True)
        )


class ImagePooling(nn.Module):
    """The mean over the whole map, a 1x1 convolution, and the result at every pixel.

    Bilinear interpolation from one pixel, as in DeepLabV3, gives that pixel everywhere.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.project = ConvBNReLU(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.project(x.mean((2, 3), keepdim=True))  # (N, outputs, 1, 1)
        return pooled.expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (section 2.2, Fig. 2). The size of the map is kept.

    Parallel branches (a 1x1 convolution, a 3x3 convolution for each atrous rate, image pooling) are
    concatenated and projected to `outputs` channels, by default back to `channels`. The paper does
    not give the width of a branch. A rate of 0 stands for another 1x1 convolution. Without
    `pooling`, the last branch is left out.
    """

    def __init__(
        self,
        channels: int,
        branch_channels: int,
        rates: Sequence[int] = (6, 12, 18),
        outputs: int | None = None,
        pooling: bool = True,
    ):
        super().__init__()
        self.branches = nn.ModuleList(
            ConvBNReLU(channels, branch_channels, 3 if rate else 1, max(rate, 1))
            for rate in (0, *rates)
        )
        if pooling:
            self.branches.append(ImagePooling(channels, branch_channels))
        joined = len(self.branches) * branch_channels
        self.project = ConvBNReLU(joined, outputs or channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(torch.cat([branch(x) for branch in self.branches], dim=1))


def pad_to_multiple(x: Tensor, multiple: int | Sequence[int]) -> Tensor:
    """Repeat the last values of each axis until its length is a multiple; x is (N, C, *axes).

    `multiple` is one number for all axes, or one for each.
    """
    axes = x.shape[2:]
    multiples = [multiple] * len(axes) if isinstance(multiple, int) else multiple
    missing = [-length % step for length, step in zip(axes, multiples, strict=True)]
    # F.pad takes (before, after) of the last axis first.
    padding = [side for after in reversed(missing) for side in (0, after)]
    return F.pad(x, padding, mode="replicate")
