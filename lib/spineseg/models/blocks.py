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
    """The mean over the whole map through a 1x1 convolution: (N, C, H, W) to (N, outputs, 1, 1)."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.project = ConvBNReLU(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.project(x.mean((2, 3), keepdim=True))


class AtrousConv2d(nn.Conv2d):
    """A 3x3 convolution with holes and zeros around the map, whose size is kept.

    Where a map is no longer than the rate, the outer taps meet zeros alone; they are left out.
    """

    def __init__(self, inputs: int, outputs: int, rate: int):
        super().__init__(inputs, outputs, 3, 1, rate, rate, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rate = self.dilation[0]
        rows, columns = (slice(None) if rate < length else slice(1, 2) for length in x.shape[2:])
        weight = self.weight[:, :, rows, columns]
        padding = [rate if taps == 3 else 0 for taps in weight.shape[2:]]
        return F.conv2d(x, weight, self.bias, 1, padding, rate)


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (section 2.2, Fig. 2); the size of the map is kept.

    Five parallel branches (1x1, one 3x3 for each atrous rate, image pooling), joined and projected
    to `outputs`, by default back to `channels`. The paper does not give the width of a branch.

    What Fig. 2 draws (`plain.ASPP`), in fewer passes over the maps: BN and ReLU act on each channel
    alone, so they follow the join of the convolutions; and the pooled values are the same at every
    pixel, so what they add to the projection is one vector an image.
    """

    def __init__(
        self,
        channels: int,
        branch_channels: int,
        rates: Sequence[int] = (6, 12, 18),
        outputs: int | None = None,
    ):
        super().__init__()
        self.sizes = (channels, branch_channels, tuple(rates), outputs or channels)
        self.branches = nn.ModuleList(
            [
                nn.Conv2d(channels, branch_channels, 1, bias=False),
                *(AtrousConv2d(channels, branch_channels, rate) for rate in rates),
            ]
        )
        self.norm: nn.Module = nn.BatchNorm2d(len(self.branches) * branch_channels)
        self.pooling = ImagePooling(channels, branch_channels)
        joined = (len(self.branches) + 1) * branch_channels
        self.project = ConvBNReLU(joined, outputs or channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.relu(self.norm(torch.cat([branch(x) for branch in self.branches], dim=1)))
        convolution, norm, relu = self.project
        assert isinstance(convolution, nn.Conv2d)
        weights = convolution.weight.tensor_split([maps.shape[1]], dim=1)
        of_image = F.conv2d(self.pooling(x), weights[1], convolution.bias)  # (N, outputs, 1, 1)
        return relu(norm(F.conv2d(maps, weights[0]) + of_image))

    def branch_norms(self) -> list[nn.BatchNorm2d]:
        """For each branch but the pooled a BN layer of its own, of the state of the joined one."""
        count, state = len(self.branches), self.norm.state_dict()
        norms = [nn.BatchNorm2d(self.sizes[1]).to(state["weight"]) for _ in range(count)]
        for index, norm in enumerate(norms):
            norm.load_state_dict(
                {key: v.chunk(count)[index] if v.ndim else v for key, v in state.items()}
            )
            norm.train(self.training)
        return norms


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
