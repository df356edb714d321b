from concurrent.futures.process import BrokenProcessPool

import numpy as np
import pytest
import torch

from spineseg.benchmark import cost
from spineseg.methods import NNUNET
from spineseg.models import counting
from spineseg.models.fast import make_fast


@pytest.fixture
def two_only(monkeypatch) -> None:
    monkeypatch.setattr(cost, "TABLE3_METHODS", ("segnet", NNUNET))
    monkeypatch.setattr(cost, "nnunet_is_installed", lambda: False)


def double(taps: int, i: int, o: int, pixels: int) -> int:
    """Operations of two convolutions, i to o and o to o channels, on a map of `pixels` pixels."""
    return 2 * taps * (i * o + o * o) * pixels


def up(taps: int, i: int, o: int, pixels: int) -> int:
    """Operations of a transposed convolution, one input per output, and of the two after it."""
    return 2 * i * o * pixels + double(taps, 2 * o, o, pixels)


def test_operations_of_the_unet_by_hand():
    w, n = 4, 32 * 48
    encoder = double(9, 1, w, n) + sum(
        double(9, w * 2**k, w * 2 ** (k + 1), n // 4 ** (k + 1)) for k in range(3)
    )
    decoder = up(9, 8 * w, 8 * w, n // 64) + sum(
        up(9, w * 2 ** (k + 1), w * 2**k, n // 4**k) for k in range(3)
    )
    head = 2 * w * 9 * n
    assert (
        counting.flops(counting.on_meta("unet", width=w), (1, 1, 32, 48))
        == encoder + decoder + head
    )


def test_operations_of_the_3d_unet_are_those_of_one_slice_of_twelve():
    w, n = 4, 32 * 48
    pixels = (n, n / 4, n / 32, n / 256)  # of a slice; the second and third pooling halve slices
    encoder = double(27, 1, w, pixels[0]) + sum(
        double(27, w * 2**k, w * 2 ** (k + 1), pixels[k + 1]) for k in range(3)
    )
    decoder = sum(up(27, w * 2 ** (k + 1), w * 2**k, pixels[k]) for k in range(3))
    network = counting.on_meta("unet3d", width=w)
    for slices in (12, 24):
        flops = counting.flops(network, (1, 1, slices, 32, 48))
        assert flops == encoder + decoder + 2 * w * 9 * n


@pytest.mark.parametrize(("name", "gflops"), [("unet", 551), ("aspp_unet", 772)])
def test_operations_at_the_papers_size(name, gflops):
    shape = counting.input_shape(name, counting.ROWS, counting.COLUMNS)
    assert shape == (1, 1, 880, 464)
    assert counting.gflops(name) == pytest.approx(gflops, rel=0.002)
    fast = counting.flops(make_fast(counting.on_meta(name)), shape) / 1e9
    assert fast <= counting.gflops(name)


@pytest.mark.parametrize(
    ("rows", "columns"), [(880, 464), (432, 224), (220, 112), (64, 32), (8, 16)]
)
def test_columns_keep_the_papers_proportion(rows, columns):
    assert cost.columns_for(rows) == columns


def test_memory_grows_with_the_image_and_is_that_of_the_subprocess():
    held = np.ones(60_000_000)  # 460 MiB that the subprocess does not have
    small, large = (
        cost.run_in_subprocess(cost.measure_inference, "segnet", *size)
        for size in ((32, 16), (384, 208))
    )
    assert held.nbytes > small["memory_mib"] * 2**20 > 0
    map_mib = 64 * 384 * 208 * 4 / 2**20  # the first stage's, float32
    assert large["memory_mib"] - small["memory_mib"] > map_mib / 2  # or bf16


def test_the_first_pass_never_counts_and_a_slow_network_is_timed_three_times(monkeypatch):
    passes = iter([9.0, 1.0, 2.0, 3.0, 4.0, 8.0, 5.0, 6.0, 7.0])
    monkeypatch.setattr(cost, "timed", lambda fabric, forward: next(passes))
    monkeypatch.setattr(cost, "ROUNDS", 4)
    assert cost._time_passes(None, None) == [1.0, 2.0, 3.0, 4.0]
    monkeypatch.setattr(cost, "TIMED_SECONDS", 0)
    assert cost._time_passes(None, None) == [5.0, 6.0, 7.0]


def test_measured_share_of_peak_and_the_row_of_a_missing_package(two_only):
    table = cost.measure_cost(32)
    segnet, missing = table.to_dict("records")
    assert (segnet["rows"], segnet["columns"]) == (32, 16)
    assert segnet["parameters"] == 15_207_945
    assert segnet["rounds"] >= 1
    assert segnet["memory_mib"] > 0
    assert segnet["note"] == ""
    rate = cost.fast_flops("segnet", 32, 16) / segnet["seconds"] / 1e9
    assert segnet["share_of_peak"] == pytest.approx(rate / segnet["gemm_gflops_per_s"])
    measured = ["parameters", "gflops", "rounds", "seconds", "memory_mib", "share_of_peak"]
    assert table.loc[1, measured].isna().all()
    assert missing["note"] == "not installed; `make nnunet` installs it"


def test_a_network_too_large_for_the_memory_has_a_row_without_measurements(two_only, monkeypatch):
    def killed(function, *arguments):
        if function is cost.measure_inference:
            raise BrokenProcessPool
        return 1.0

    monkeypatch.setattr(cost, "run_in_subprocess", killed)
    row = cost.measure_cost(32).iloc[0]
    assert row["note"] == "out of memory at 32 x 16"
    assert row["gflops"] > 0
    assert np.isnan(row["seconds"])


def test_nnunet_plans_eight_stages_for_the_papers_image():
    pytest.importorskip("nnunetv2")
    network, shape = cost.network_on_meta(NNUNET, counting.ROWS, counting.COLUMNS)
    assert shape == (1, 1, 896, 512)
    assert round(counting.count_parameters(network) / 1e6, 1) == 46.3
    small, shape = cost.network_for(NNUNET, 64, 32)
    with torch.inference_mode():
        assert small(torch.zeros(shape)).shape == (1, 9, 64, 32)
