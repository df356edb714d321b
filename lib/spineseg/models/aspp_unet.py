"""ASPP-UNet (section 2.4, Fig. 4). U-Net-2D is the same net with no ASPP at any position."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spineseg.models.blocks import ASPP, DoubleConv, pad_to_multiple


class Up(nn.Module):
    """One step of the decoder: transposed convolution, concatenation with the skip, DC."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(inputs, outputs, 2, stride=2)
        self.conv = DoubleConv(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return self.conv(torch.cat([skip, self.up(x)], dim=1))


class ASPPUNet(nn.Module):
    """`stages` times DC, ASPP and max-pool; as often transposed convolution, concatenation and DC.

    The skip leaves after the DC, before its ASPP. `aspp` lists the positions (1 to `stages`) that
    have an ASPP module, by default all. `branch` is the width of its branches as a fraction of the
    stage's width; `rates` and `pooling` are those of `ASPP`. A network that `sees_rows` gets each
    pixel's row, from -1 to 1, as one more channel.
    Input (N, in_channels, H, W) of any size, output (N, num_classes, H, W).
    """

    def __init__(
        self,
        width: int,
        num_classes: int,
        in_channels: int,
        stages: int = 4,
        aspp: Sequence[int] | None = None,
        branch: float = 0.5,
        rates: Sequence[int] = (6, 12, 18),
        pooling: bool = True,
        sees_rows: bool = False,
    ):
        super().__init__()
        positions = range(1, stages + 1)
        if outside := set(aspp or ()) - set(positions):
            raise ValueError(f"no position {min(outside)}: the encoder has {stages} stages")
        self.sees_rows = sees_rows
        widths = [width * 2**stage for stage in range(stages)]  # 64, 128, 256, 512
        self.down = nn.ModuleList(
            DoubleConv(inputs, outputs)
            for inputs, outputs in zip([in_channels + sees_rows, *widths], widths, strict=False)
        )
        self.aspp = nn.ModuleList(
            ASPP(channels, max(1, round(branch * channels)), rates, pooling=pooling)
            if aspp is None or position in aspp
            else nn.Identity()
            for channels, position in zip(widths, positions, strict=True)
        )
        self.up = nn.ModuleList(
            Up(inputs, outputs)
            for inputs, outputs in zip(
                [widths[-1], *reversed(widths)], reversed(widths), strict=False
            )
        )
        self.head = nn.Conv2d(width, num_classes, 1)

    def forward(self, image: Tensor) -> Tensor:
        x = torch.cat([image, row_channel(image)], dim=1) if self.sees_rows else image
        x = pad_to_multiple(x, 2 ** len(self.down))
        skips = []
        for down, aspp in zip(self.down, self.aspp, strict=True):
            x = down(x)  # (N, width * 2**stage, H / 2**stage, W / 2**stage)
            skips.append(x)
            x = F.max_pool2d(aspp(x), 2)
        for up in self.up:
            x = up(x, skips.pop())
        return self.head(x)[..., : image.shape[2], : image.shape[3]]


def row_channel(image: Tensor) -> Tensor:
    """The row of each pixel of (N, C, H, W), from -1 to 1: (N, 1, H, W)."""
    rows = torch.linspace(-1, 1, image.shape[2], dtype=image.dtype, device=image.device)
    return rows[:, None].expand(len(image), 1, -1, image.shape[3])
