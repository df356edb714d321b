"""ASPP-UNet (section 2.4, Fig. 4). U-Net-2D is the same net with no ASPP at any position."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spineseg.models.blocks import ASPP, DoubleConv, pad_to_multiple

STAGES = 4


class Up(nn.Module):
    """One step of the decoder: transposed convolution, concatenation with the skip, DC."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = DoubleConv(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


class ASPPUNet(nn.Module):
    """Four times DC, ASPP and max-pool; four times transposed convolution, concatenation and DC.

    The skip leaves after the DC, before its ASPP. `aspp` says which of the four positions have an
    ASPP module. `branch` is the width of its branches as a fraction of the stage's width.
    Input (N, in_channels, H, W) of any size, output (N, num_classes, H, W).
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        in_channels: int,
        aspp: Sequence[bool] = (True,) * STAGES,
        branch: float = 0.5,
        rates: Sequence[int] = (6, 12, 18),
    ):
        super().__init__()
        if len(aspp) != STAGES:
            raise ValueError(f"aspp has {len(aspp)} positions; the encoder has {STAGES}")
        widths = [width * 2**stage for stage in range(STAGES)]  # 64, 128, 256, 512
        self.down = nn.ModuleList(
            DoubleConv(inputs, outputs)
            for inputs, outputs in zip([in_channels, *widths], widths, strict=False)
        )
        self.aspp = nn.ModuleList(
            ASPP(channels, max(1, round(branch * channels)), rates) if present else nn.Identity()
            for channels, present in zip(widths, aspp, strict=True)
        )
        self.up = nn.ModuleList(
            Up(inputs, outputs)
            for inputs, outputs in zip(
                [widths[-1], *reversed(widths)], reversed(widths), strict=False
            )
        )
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = pad_to_multiple(image, 2**STAGES)
        skips = []
        for down, aspp in zip(self.down, self.aspp, strict=True):
            x = down(x)  # (N, width * 2**stage, H / 2**stage, W / 2**stage)
            skips.append(x)
            x = F.max_pool2d(aspp(x), 2)
        for up in self.up:
            x = up(x, skips.pop())
        return self.head(x)[..., : image.shape[2], : image.shape[3]]
