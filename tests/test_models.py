from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from spineseg.methods import ABLATION_METHODS, DEPTHS, METHODS, OWN_NETWORKS
from spineseg.models import build_model
from spineseg.models.blocks import ASPP, ImagePooling, pad_to_multiple
from spineseg.models.counting import count_parameters
from spineseg.models.fast import NORMS, atrous_conv, make_fast, memory_format
from spineseg.models.receptive_field import field_extent, receptive_field, rows_seen


@pytest.mark.parametrize("name", OWN_NETWORKS)
@pytest.mark.parametrize("size", [(16, 16), (37, 51), (110, 58)])
def test_any_size_goes_in_and_comes_out(name, size):
    network = build_model(name, width=4)
    size = (5, *size) if METHODS[name].volumetric else size
    image = torch.randn(2, 1, *size, requires_grad=True)
    logits = network(image)
    assert logits.shape == (2, 9, *size)
    logits.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize(
    ("name", "options", "millions"),
    [
        ("aspp_unet", {}, 21.76),
        ("aspp_unet", {"branch": 1.0}, 27.68),
        ("aspp_unet", {"branch": 0.25}, 18.80),
        ("unet", {}, 15.83),
    ],
)
def test_parameter_counts_of_the_reading(name, options, millions):
    with torch.device("meta"):
        assert round(count_parameters(build_model(name, **options)) / 1e6, 2) == millions


def test_parameters_by_hand():
    """A 3x3 convolution with bias and BN has 9 i o + o + 2 o values, and so on."""
    double = lambda i, o: 9 * i * o + 9 * o * o + 2 * (o + 2 * o)  # noqa: E731
    up = lambda i, o: 4 * i * o + o + double(2 * o, o)  # noqa: E731
    w = 8
    encoder = double(1, w) + double(w, 2 * w) + double(2 * w, 4 * w) + double(4 * w, 8 * w)
    decoder = up(8 * w, 8 * w) + up(8 * w, 4 * w) + up(4 * w, 2 * w) + up(2 * w, w)
    head = 9 * w + 9
    assert count_parameters(build_model("unet", width=w)) == encoder + decoder + head
    aspp = lambda c, b: (c * b + 2 * b) * 2 + 3 * (9 * c * b + 2 * b) + 5 * b * c + 2 * c  # noqa: E731
    modules = sum(aspp(c, c // 2) for c in (w, 2 * w, 4 * w, 8 * w))
    assert count_parameters(build_model("aspp_unet", width=w)) == encoder + decoder + head + modules


def test_aspp_positions_say_where_modules_stand():
    network = build_model("aspp_unet", width=4, aspp=(2, 4))
    assert [isinstance(module, ASPP) for module in network.aspp] == [False, True, False, True]


def test_the_ablation_differs_in_positions_alone():
    """Each name says where its modules stand; positions and counts as in Table 2."""
    standing = {
        name: [
            i for i, module in enumerate(build_model(name, 4).aspp, 1) if isinstance(module, ASPP)
        ]
        for name in ABLATION_METHODS
    }
    assert standing.pop("unet") == []
    for name in ("aspp_unet", "aspp_unet_wide"):
        assert standing.pop(name) == [1, 2, 3, 4]
    for name, positions in standing.items():
        assert name == "aspp_unet_" + "".join(map(str, positions))
        assert METHODS[name].positions == "+".join(map(str, positions))


def test_no_aspp_is_the_unet():
    bare = build_model("aspp_unet", width=4, aspp=())
    bare.load_state_dict(build_model("unet", width=4).state_dict())


def test_wrong_names_and_positions_are_refused():
    with pytest.raises(ValueError, match="no such network; choose one of unet, segnet"):
        build_model("resnet")
    with pytest.raises(ValueError, match="no position 4: the encoder has 3 stages"):
        build_model("aspp_unet_34", stages=3)


@pytest.mark.parametrize("stages", DEPTHS)
def test_the_stages_of_a_method_come_before_those_of_the_profile(stages):
    """U-Net-2D of each depth sees as many rows as counted by hand, and more of them with ASPP."""
    plain = build_model(f"unet_depth_{stages}", width=8, stages=4)
    assert len(plain.down) == len(plain.up) == stages
    size = (25 * 2**stages, 32)  # its middle row sees the most
    rows, _ = field_extent(receptive_field(plain, size))
    assert rows == rows_seen(stages) == {1: 10, 2: 28, 3: 68, 4: 140, 5: 284}[stages]
    pooled = build_model(f"aspp_unet_depth_{stages}", width=4, stages=4)
    assert field_extent(receptive_field(pooled, size))[0] > rows


@pytest.mark.parametrize("stages", [2, 3, 5])
@pytest.mark.parametrize("name", ["segnet", "unet3d", "unet", "aspp_unet"])
def test_networks_have_the_stages_of_the_profile(name, stages):
    network = build_model(name, width=2, stages=stages)
    slices = (4,) if name == "unet3d" else ()
    image = torch.randn(2, 1, *slices, 50, 37)
    assert network(image).shape == (2, 9, *slices, 50, 37)
    halvings = stages - (name == "unet3d")  # the last stage of U-Net-3D is its bottom
    assert len(network.down) == halvings


def test_the_controls_change_one_thing_each():
    """Which branches the first module of each control network has: kernel sizes and rates."""

    def branches(name: str) -> list[tuple[int, int]] | None:
        module = build_model(name, width=8).aspp[0]
        convolutions = [b[0] for b in module.branches if not isinstance(b, ImagePooling)]
        return [(c.kernel_size[0], c.dilation[0]) for c in convolutions], any(
            isinstance(b, ImagePooling) for b in module.branches
        )

    atrous = [(1, 1), (3, 6), (3, 12), (3, 18)]
    assert branches("aspp_unet_depth_2") == (atrous, True)
    assert branches("control_no_pooling") == (atrous, False)
    assert branches("control_pooling") == ([(1, 1)], True)
    assert branches("control_near") == ([(1, 1), (3, 1), (3, 2), (3, 3)], True)
    assert branches("control_wide") == ([(1, 1)] * 5, False)


def test_a_network_can_see_the_row():
    """The same image gives other logits in another row; a plain network cannot tell its rows."""
    image = torch.zeros(1, 1, 64, 32)
    for name, differs in (("control_rows", True), ("unet_depth_2", False)):
        logits = build_model(name, width=4).eval()(image)[0, :, :, 16]
        assert torch.allclose(logits[:, 24], logits[:, 40], atol=1e-6) != differs


@pytest.fixture
def float64():
    """What stays apart then is not rounding."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def randomise_norms(network) -> None:
    """Weights and statistics of BN as after some training."""
    for module in network.modules():
        if isinstance(module, NORMS):
            torch.nn.init.uniform_(module.weight, 0.5, 2)
            torch.nn.init.normal_(module.bias)
            torch.nn.init.normal_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)


def image_for(name: str) -> torch.Tensor:
    return torch.randn(3, 1, *(5,) * METHODS[name].volumetric, 48, 37)


@pytest.mark.parametrize("name", OWN_NETWORKS)
def test_fast_networks_train_as_plain_ones(name, float64):
    """Logits, gradients and running statistics are those of the network as drawn."""
    plain = build_model(name, width=4)
    randomise_norms(plain)
    fast = make_fast(deepcopy(plain))
    image = image_for(name)
    layout = memory_format(fast)
    for network, inputs in ((plain, image), (fast, image.contiguous(memory_format=layout))):
        network(inputs).pow(2).sum().backward()
    torch.testing.assert_close(fast(image), plain(image), rtol=1e-9, atol=1e-9)
    expected = plain.state_dict()
    assert fast.state_dict().keys() == expected.keys()
    for key, value in fast.state_dict().items():
        torch.testing.assert_close(value, expected[key], rtol=1e-9, atol=1e-9, msg=key)
    for network in (plain, fast):  # so that the state dict names the gradients
        for parameter in network.parameters():
            parameter.data = parameter.grad.contiguous()
    gradients = plain.state_dict()
    for key, value in fast.state_dict().items():
        torch.testing.assert_close(value, gradients[key], rtol=1e-7, atol=1e-7, msg=key)


@pytest.mark.parametrize("name", OWN_NETWORKS)
def test_fast_networks_predict_the_same_without_norms(name, float64):
    network = build_model(name, width=4)
    randomise_norms(network)
    network.eval()
    fast = make_fast(deepcopy(network))
    image = image_for(name)
    torch.testing.assert_close(fast(image), network(image), rtol=1e-9, atol=1e-9)
    assert not any(isinstance(module, NORMS) for module in fast.modules())


@pytest.mark.parametrize("name", OWN_NETWORKS)
def test_a_fast_network_holds_plain_weights(name):
    """They can be loaded into the network as drawn, in both directions; gaps are noticed."""
    fast, plain = make_fast(build_model(name, width=4)), build_model(name, width=4)
    randomise_norms(fast)
    plain.load_state_dict(fast.state_dict())
    other = make_fast(build_model(name, width=4))
    other.load_state_dict(plain.state_dict())
    for key, value in other.state_dict().items():
        assert torch.equal(value, fast.state_dict()[key]), key
    assert {key: value.shape for key, value in fast.state_dict().items()} == {
        key: value.shape for key, value in plain.state_dict().items()
    }
    for lost in [key for key in plain.state_dict() if "num_batches" not in key][::20]:
        partial = {key: value for key, value in plain.state_dict().items() if key != lost}
        with pytest.raises(RuntimeError, match="Missing key"):
            other.load_state_dict(partial)


def test_fig2_written_out_by_hand():
    """The module against the words of section 2.2, one operation at a time."""
    module = ASPP(4, 2, rates=(2, 3), outputs=5).eval()
    x = torch.randn(2, 4, 9, 7)
    one, two, three, pooling = module.branches
    maps = [
        F.conv2d(x, one[0].weight),
        F.conv2d(x, two[0].weight, padding=2, dilation=2),
        F.conv2d(x, three[0].weight, padding=3, dilation=3),
        F.conv2d(x.mean((2, 3), keepdim=True), pooling.project[0].weight).expand(-1, -1, 9, 7),
    ]
    scale = 1 / (1 + module.project[1].eps) ** 0.5  # of a new BN layer
    joined = torch.cat([(values * scale).relu() for values in maps], 1)
    expected = (F.conv2d(joined, module.project[0].weight) * scale).relu()
    torch.testing.assert_close(module(x), expected)


def test_image_pooling_reaches_every_pixel():
    module = ASPP(4, 16, rates=(1,)).eval()
    image = torch.randn(1, 4, 31, 17, requires_grad=True)
    module(image)[0, :, 0, 0].sum().backward()
    assert (image.grad[0].abs().sum(0) > 0).all()


def test_atrous_branch_is_a_dilated_convolution():
    """Against a dense 13x13 kernel with holes written out."""
    branch = ASPP(3, 2, rates=(6,)).branches[1][0]
    dense = torch.zeros(2, 3, 13, 13)
    dense[:, :, ::6, ::6] = branch.weight.detach()
    for size in ((29, 23), (7, 6), (6, 20), (5, 3), (1, 1)):  # of the last the middle tap is left
        image = torch.randn(1, 3, *size)
        expected = F.conv2d(image, dense, padding=6)
        for found in (branch(image), atrous_conv(image, branch)):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40))
def test_padding_adds_less_than_one_multiple_and_keeps_the_image(height, width):
    image = torch.randn(1, 1, height, width)
    padded = pad_to_multiple(image, 16)
    assert padded.shape[2] % 16 == padded.shape[3] % 16 == 0
    assert padded.shape[2] - height < 16
    assert padded.shape[3] - width < 16
    assert torch.equal(padded[..., :height, :width], image)
