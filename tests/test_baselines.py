"""The networks the paper compares with: SegNet, DeepLabV3, U-Net-3D."""

from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spineseg.models.blocks import pad_to_multiple
from spineseg.models.counting import count_parameters
from spineseg.models.deeplabv3 import Bottleneck, DeepLabV3, ResNet101
from spineseg.models.segnet import SegNet
from spineseg.models.unet3d import UNet3D

SLICES = {
    "segnet": SegNet,
    "deeplabv3 at 8": partial(DeepLabV3, output_stride=8),
    "deeplabv3 at 16": partial(DeepLabV3, output_stride=16),
}


def shapes(modules, network, image):
    """The shape of each module's output when the network sees the image."""
    seen = []
    for module in modules:
        module.register_forward_hook(lambda _module, _inputs, output: seen.append(output.shape))
    network(image)
    return seen


def assert_any_size(network, image, num_classes=9):
    logits = network(image)
    assert logits.shape == (len(image), num_classes, *image.shape[2:])
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("build", SLICES.values(), ids=SLICES)
@pytest.mark.parametrize("size", [(16, 16), (37, 51), (110, 58)])
def test_any_slice_goes_in_and_comes_out(build, size):
    assert_any_size(build(4, 9, 1), torch.randn(2, 1, *size))


@pytest.mark.parametrize("size", [(12, 16, 16), (15, 37, 51), (19, 24, 9), (1, 30, 22)])
def test_any_volume_goes_in_and_comes_out(size):
    assert_any_size(UNet3D(4, 9, 1), torch.randn(1, 1, *size))


def test_other_channels_and_classes():
    assert_any_size(SegNet(4, 3, 2), torch.randn(2, 2, 20, 20), num_classes=3)
    assert_any_size(DeepLabV3(4, 3, 2), torch.randn(2, 2, 20, 20), num_classes=3)
    assert_any_size(UNet3D(4, 3, 2), torch.randn(1, 2, 4, 20, 20), num_classes=3)


def test_segnet_parameters_by_hand():
    """Bias and BN add three values to each output of a convolution, the plain last one a bias."""
    w = 64
    encoder = 1 * w + (2 + 4) * w**2 + (8 + 2 * 16) * w**2 + (32 + 2 * 64) * w**2
    decoder = (2 * 64 + 32) * w**2 + (2 * 16 + 8) * w**2 + (4 + 2) * w**2 + 9 * w
    outputs = (1 + 2 * 2 + 3 * 4 + 3 * 8) * w + (8 + 8 + 4 + 4 + 4 + 2 + 2 + 1) * w
    with torch.device("meta"):
        count = count_parameters(SegNet(w, 9, 1))
    assert count == 9 * (encoder + decoder) + 3 * outputs + 9 == 15_207_945


def test_deeplab_parameters_by_hand():
    """Convolutions without bias; BN has two values for each output."""
    conv = lambda i, o, kernel=1: kernel**2 * i * o + 2 * o  # noqa: E731
    block = lambda i, w: conv(i, w) + conv(w, w, 3) + conv(w, 4 * w)  # noqa: E731
    stage = lambda i, w, blocks: (  # noqa: E731
        block(i, w) + conv(i, 4 * w) + (blocks - 1) * block(4 * w, w)
    )
    stages = stage(64, 64, 3) + stage(256, 128, 4) + stage(512, 256, 23) + stage(1024, 512, 3)
    aspp = 2 * conv(2048, 256) + 3 * conv(2048, 256, 3) + conv(5 * 256, 256)
    head = aspp + conv(256, 256, 3) + 9 * 256 + 9
    with torch.device("meta"):
        counts = [count_parameters(DeepLabV3(64, 9, channels)) for channels in (1, 3)]
    assert counts == [conv(3, 64, 7) + stages + head] * 2  # the gray image is repeated
    assert counts == [58_627_913] * 2  # torchvision's, without auxiliary head


def test_unet3d_parameters_by_hand():
    double = lambda i, o: 27 * (i * o + o * o) + 2 * (o + 2 * o)  # noqa: E731
    up = lambda i, o, pool: pool * i * o + o + double(2 * o, o)  # noqa: E731
    w = 64
    encoder = double(1, w) + double(w, 2 * w) + double(2 * w, 4 * w) + double(4 * w, 8 * w)
    decoder = up(8 * w, 4 * w, 8) + up(4 * w, 2 * w, 8) + up(2 * w, w, 4)
    with torch.device("meta"):
        count = count_parameters(UNet3D(w, 9, 1))
    assert count == encoder + decoder + 9 * w + 9 == 22_367_177


def test_unpooling_puts_maxima_back_where_they_were():
    """With the convolutions gone, what comes out is the image at its maxima and zero elsewhere."""
    network = SegNet(4, 9, 1)
    network.down = network.up = nn.ModuleList([nn.Identity()] * 4)
    image = torch.rand(2, 1, 48, 32)
    maxima = F.interpolate(F.max_pool2d(image, 16), scale_factor=16)
    assert torch.equal(network(image), torch.where(image == maxima, image, 0))


@pytest.mark.parametrize("stride", [8, 16])
def test_output_stride_of_the_backbone(stride):
    backbone = ResNet101(4, 1, stride)
    assert backbone(torch.randn(2, 1, 64, 96)).shape == (2, 128, 64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("stride", "dilations", "atrous"),
    [
        (8, [1] * 3 + [1] * 4 + [1] + [2] * 22 + [2] + [4] * 2, [12, 24, 36]),
        (16, [1] * 3 + [1] * 4 + [1] * 23 + [1] + [2] * 2, [6, 12, 18]),
    ],
)
def test_dilations_of_the_backbone_and_rates_of_the_head(stride, dilations, atrous):
    network = DeepLabV3(4, 9, 1, output_stride=stride)
    blocks = [module for module in network.backbone.modules() if isinstance(module, Bottleneck)]
    assert [block.residual[1][0].dilation[0] for block in blocks] == dilations
    assert [branch[0].dilation[0] for branch in network.head[0].branches[1:4]] == atrous


def test_dilation_only_fills_in_between_the_features_of_a_strided_backbone():
    """The map at 8 holds, at every second pixel, what the same weights give at 16."""
    fine, coarse = ResNet101(4, 1, 8).double().eval(), ResNet101(4, 1, 16).double().eval()
    coarse.load_state_dict(fine.state_dict())
    image = torch.randn(1, 1, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(fine(image)[..., ::2, ::2], coarse(image))


def test_other_output_strides_are_refused():
    with pytest.raises(ValueError, match="output stride 32; choose 8 or 16"):
        DeepLabV3(4, 9, 1, output_stride=32)


def test_blocks_start_as_their_shortcuts():
    block = Bottleneck(16, 4, stride=1, rate=1)
    x = torch.rand(2, 16, 8, 8)
    assert torch.equal(block(x), x)


def test_depth_is_halved_twice_and_the_plane_three_times():
    network = UNet3D(4, 9, 1)
    levels = shapes([*network.down, network.bottom], network, torch.randn(1, 1, 12, 64, 40))
    assert [tuple(level[2:]) for level in levels] == [
        (12, 64, 40),
        (12, 32, 20),
        (6, 16, 10),
        (3, 8, 5),
    ]


def test_slices_influence_one_another():
    volume = torch.randn(1, 1, 12, 16, 16, requires_grad=True)
    UNet3D(4, 9, 1).eval()(volume)[:, :, 0].sum().backward()
    assert (volume.grad.abs().sum((0, 1, 3, 4)) > 0).all()


def test_each_axis_is_padded_to_its_own_multiple():
    volume = torch.randn(1, 1, 5, 9, 8)
    padded = pad_to_multiple(volume, (4, 8, 8))
    assert padded.shape == (1, 1, 8, 16, 8)
    assert torch.equal(padded[:, :, :5, :9], volume)
    assert torch.equal(padded[:, :, 5:, :9], volume[:, :, 4:].expand(-1, -1, 3, -1, -1))
