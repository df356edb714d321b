"""U-Net-3D (Cicek et al., 2016), adapted to thick slices. A baseline of the paper (section 2.8)."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spineseg.models.blocks import pad_to_multiple

# Over (slices, H, W). Slices are more than ten times farther apart than pixels, and twelve of them
# can be halved only twice. So the first pooling is in the plane, as are those after the third.
POOLS = ((1, 2, 2), (2, 2, 2), (2, 2, 2))
IN_PLANE = (1, 2, 2)


class DoubleConv3d(nn.Sequential):
    """The DC module (section 2.3, Fig. 3) with 3x3x3 convolutions.

    A batch holds one or two volumes. So each volume is normalised by its own statistics, in
    training and in testing, as the authors of U-Net-3D advise for such batches. Running statistics
    are of other volumes and fail in testing.
    """

    def __init__(self, inputs: int, outputs: int):
        super().__init__(
            nn.Conv3d(inputs, outputs, 3, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.ReLU(inplace=True),
            nn.Conv3d(outputs, outputs, 3, padding=1),
            nn.InstanceNorm3d(outputs, affine=True),
            nn.ReLU(inplace=True),
        )


class Up3d(nn.Module):
    """Transposed convolution that undoes a pooling, concatenation with the skip, DC."""

    def __init__(self, inputs: int, outputs: int, pool: tuple[int, int, int]):
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, pool, stride=pool)
        self.conv = DoubleConv3d(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


class UNet3D(nn.Module):
    """DC and max-pool in all `stages` but the last; DC; as often transposed convolution,
    concatenation and DC.

    Input (N, in_channels, slices, H, W) of any size, output (N, num_classes, slices, H, W).
    """

    def __init__(self, width: int, num_classes: int, in_channels: int, stages: int = 4):
        super().__init__()
        self.pools = [*POOLS, *[IN_PLANE] * stages][: stages - 1]
        widths = [width * 2**level for level in range(stages)]  # 64, 128, 256, 512
        self.down = nn.ModuleList(
            DoubleConv3d(inputs, outputs)
            for inputs, outputs in zip([in_channels, *widths], widths[:-1], strict=False)
        )
        self.bottom = DoubleConv3d(widths[-2], widths[-1])
        self.up = nn.ModuleList(
            Up3d(inputs, outputs, pool)
            for inputs, outputs, pool in zip(widths[1:], widths, self.pools, strict=False)
        )[::-1]
        self.head = nn.Conv3d(width, num_classes, 1)

    def forward(self, volume: Tensor) -> Tensor:
        halvings = [math.prod(axis) for axis in zip(*self.pools, strict=True)]
        if volume.shape[2] <= halvings[0]:
            # With a single slice at the bottom, the bf16 gradient crashes on CPUs with AMX
            # (torch 2.13, oneDNN).
            halvings[0] *= 2
        x = pad_to_multiple(volume, halvings)
        skips = []
        for down, pool in zip(self.down, self.pools, strict=True):
            x = down(x)  # (N, width * 2**level, slices, H / 2**level, W / 2**level)
            skips.append(x)
            x = F.max_pool3d(x, pool)
        x = self.bottom(x)
        for up in self.up:
            x = up(x, skips.pop())
        slices, height, width = volume.shape[2:]
        return self.head(x)[..., :slices, :height, :width]
