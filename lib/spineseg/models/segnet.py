"""SegNet (Badrinarayanan et al., 2017) of the paper's size, one of its baselines (section 2.8)."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from spineseg.models.blocks import ConvBNReLU, pad_to_multiple

CONVOLUTIONS = (1, 2, 3, 3)  # of the paper's four stages; further stages have three


def convolutions(*channels: int) -> nn.Sequential:
    """3x3 convolutions, BN and ReLU from each number of channels to the next."""
    return nn.Sequential(
        *(ConvBNReLU(inputs, outputs, 3, bias=True) for inputs, outputs in pairwise(channels))
    )


class SegNet(nn.Module):
    """`stages` times convolutions and max-pool; as often max-unpool and convolutions.

    The decoder mirrors the encoder. It gets no features from there, only the positions of the
    maxima: unpooling puts the values back at these positions. The last convolution gives the
    logits.
    Input (N, in_channels, H, W) of any size, output (N, num_classes, H, W).
    """

    def __init__(self, width: int, num_classes: int, in_channels: int, stages: int = 4):
        super().__init__()
        depths = [*CONVOLUTIONS, *[CONVOLUTIONS[-1]] * stages][:stages]
        widths = [width * 2**stage for stage in range(stages)]  # 64, 128, 256, 512
        self.down = nn.ModuleList(
            convolutions(inputs, *[outputs] * depth)
            for inputs, outputs, depth in zip([in_channels, *widths], widths, depths, strict=False)
        )
        self.up = nn.ModuleList(
            convolutions(*[inputs] * depth, outputs)
            for inputs, outputs, depth in zip(widths[1:], widths, depths[1:], strict=False)
        )[::-1]
        self.up.append(nn.Conv2d(width, num_classes, 3, padding=1))

    def forward(self, image: Tensor) -> Tensor:
        x = pad_to_multiple(image, 2 ** len(self.down))
        positions = []
        for down in self.down:
            x = down(x)  # (N, width * 2**stage, H / 2**stage, W / 2**stage)
            x, indices = F.max_pool2d(x, 2, return_indices=True)
            positions.append(indices)
        for up in self.up:
            x = up(F.max_unpool2d(x, positions.pop(), (2, 2)))
        return x[..., : image.shape[2], : image.shape[3]]
