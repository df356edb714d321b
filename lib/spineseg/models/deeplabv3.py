"""DeepLabV3 (Chen et al., 2017) on a dilated ResNet-101. A baseline of the paper (section 2.8).

The residual network is that of He et al. (2016), with the stride in the 3x3 convolution.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from spineseg.models.blocks import ASPP, ConvBNReLU

BLOCKS = (3, 4, 23, 3)
EXPANSION = 4
# (stride, atrous rate) of the four stages, by output stride. A rate replaces an omitted stride.
STRIDES_AND_RATES = {
    8: ((1, 1), (2, 1), (1, 2), (1, 4)),
    16: ((1, 1), (2, 1), (2, 1), (1, 2)),
}


class Bottleneck(nn.Module):
    """1x1 down to `width`, 3x3, 1x1 up to EXPANSION * `width`, added to the shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, rate: int):
        super().__init__()
        outputs = EXPANSION * width
        last = nn.BatchNorm2d(outputs)
        # Each block starts as its shortcut. This makes 101 layers trainable from scratch.
        nn.init.zeros_(last.weight)
        self.residual = nn.Sequential(
            ConvBNReLU(inputs, width, 1),
            ConvBNReLU(width, width, 3, rate, stride=stride),
            nn.Conv2d(width, outputs, 1, bias=False),
            last,
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class ResNet101(nn.Sequential):
    """(N, in_channels, H, W) to (N, 32 * width, H / output_stride, W / output_stride)."""

    def __init__(self, width: int, in_channels: int, output_stride: int):
        super().__init__(
            ConvBNReLU(in_channels, width, 7, stride=2), nn.MaxPool2d(3, stride=2, padding=1)
        )
        inputs, previous_rate = width, 1
        for stage, (stride, rate) in enumerate(STRIDES_AND_RATES[output_stride]):
            channels = width * 2**stage
            outputs = EXPANSION * channels
            self.append(
                nn.Sequential(
                    # Its input has the spacing of the stage before, so it takes that rate.
                    Bottleneck(inputs, channels, stride, previous_rate),
                    *(Bottleneck(outputs, channels, 1, rate) for _ in range(BLOCKS[stage] - 1)),
                )
            )
            inputs, previous_rate = outputs, rate
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class DeepLabV3(nn.Module):
    """Dilated ResNet-101, ASPP, 3x3 convolution; the logits are interpolated bilinearly.

    `output_stride` (8 or 16) is the distance of the backbone's output pixels in image pixels. The
    atrous rates are 6, 12, 18 for 16, and twice that for 8. There is no auxiliary head, and no
    pretrained weights. "Size and parameters were not changed", so the network expects three
    channels, and a gray image is repeated.
    Input (N, in_channels, H, W) of any size, output (N, num_classes, H, W).
    """

    def __init__(self, width: int, num_classes: int, in_channels: int, output_stride: int = 8):
        super().__init__()
        if output_stride not in STRIDES_AND_RATES:
            raise ValueError(f"output stride {output_stride}; choose 8 or 16")
        self.repeats = 3 if in_channels == 1 else 1
        branch = 4 * width
        rates = [rate * 16 // output_stride for rate in (6, 12, 18)]
        self.backbone = ResNet101(width, self.repeats * in_channels, output_stride)
        self.head = nn.Sequential(
            ASPP(EXPANSION * 8 * width, branch, rates, outputs=branch),
            ConvBNReLU(branch, branch, 3),
            nn.Conv2d(branch, num_classes, 1),
        )

    def forward(self, image: Tensor) -> Tensor:
        image = image.repeat(1, self.repeats, 1, 1)
        logits = self.head(self.backbone(image))  # (N, num_classes, H / stride, W / stride)
        return F.interpolate(logits, image.shape[2:], mode="bilinear")
