from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from spineseg.benchmark import cost
from spineseg.experiment import Experiment
from spineseg.figures import plots
from spineseg.methods import NNUNET, TABLE3, TITLES
from spineseg.models import build_model
from spineseg.profiles import load_profile


@pytest.fixture
def experiment(workspace) -> Experiment:
    """Slices of 32 rows."""
    return Experiment(Path("scans"), replace(load_profile("smoke"), benchmark_rows=32))


@pytest.fixture
def two_only(monkeypatch) -> None:
    monkeypatch.setattr(cost, "TABLE3", ("segnet", NNUNET))
    monkeypatch.setattr(cost, "nnunet_is_installed", lambda: False)


def on_meta(name: str, **options) -> torch.nn.Module:
    with torch.device("meta"):
        return build_model(name, **options).eval()


def double(taps: int, i: int, o: int, pixels: int) -> int:
    """Operations of two convolutions, i to o and o to o channels, on so many pixels."""
    return 2 * taps * (i * o + o * o) * pixels


def up(taps: int, i: int, o: int, pixels: int) -> int:
    """Those of a transposed convolution, whose every output has one input, and of the two after."""
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
    assert cost.flops(on_meta("unet", width=w), (1, 1, 32, 48)) == encoder + decoder + head


def test_operations_of_the_3d_unet_are_those_of_one_slice_of_twelve():
    w, n = 4, 32 * 48
    pixels = (n, n / 4, n / 32, n / 256)  # of a slice; the second and third pooling halve slices
    encoder = double(27, 1, w, pixels[0]) + sum(
        double(27, w * 2**k, w * 2 ** (k + 1), pixels[k + 1]) for k in range(3)
    )
    decoder = sum(up(27, w * 2 ** (k + 1), w * 2**k, pixels[k]) for k in range(3))
    network = on_meta("unet3d", width=w)
    for slices in (12, 24):
        flops = cost.flops(network, (1, 1, slices, 32, 48))
        assert flops == encoder + decoder + 2 * w * 9 * n


@pytest.mark.parametrize(("name", "gflops"), [("unet", 551), ("aspp_unet", 772)])
def test_operations_at_the_papers_size(name, gflops):
    network, shape = cost.on_meta(name, cost.ROWS, cost.COLUMNS)
    assert shape == (1, 1, 880, 464)
    assert cost.gflops(name) == pytest.approx(gflops, rel=0.002)
    assert cost.flops(network, shape) / 1e9 <= cost.gflops(name)


@pytest.mark.parametrize(
    ("rows", "columns"), [(880, 464), (432, 224), (220, 112), (64, 32), (8, 16)]
)
def test_columns_keep_the_papers_proportion(rows, columns):
    assert cost.measured_size(rows) == (rows, columns)


def test_a_process_of_its_own_sees_memory_grow_with_the_image():
    held = np.ones(60_000_000)  # 460 MiB here are not there
    small, large = (
        cost.run_in_subprocess(cost.measure, "segnet", *size) for size in ((32, 16), (384, 208))
    )
    assert held.nbytes > small["memory_mib"] * 2**20 > 0
    map_mib = 64 * 384 * 208 * 4 / 2**20  # the first stage's, float32
    assert large["memory_mib"] - small["memory_mib"] > map_mib / 2  # or bf16


def test_the_first_pass_counts_only_where_it_took_all_the_time(monkeypatch):
    passes = iter([9.0, 1.0, 2.0, 3.0])
    monkeypatch.setattr(cost, "timed", lambda fabric, forward: next(passes))
    monkeypatch.setattr(cost, "ROUNDS", 2)
    assert cost._time_passes(None, None) == [1.0, 2.0]
    monkeypatch.setattr(cost, "TIMED_SECONDS", 0)
    assert cost._time_passes(None, None) == [3.0]


def test_measured_share_of_peak_and_the_row_of_a_missing_package(experiment, two_only):
    table = cost.measure_cost(experiment)
    segnet, missing = table.to_dict("records")
    assert (segnet["rows"], segnet["columns"]) == (32, 16)
    assert segnet["parameters"] == 15_207_945
    assert segnet["rounds"] >= 1
    assert segnet["memory_mib"] > 0
    assert segnet["note"] == ""
    rate = cost.flops(*cost.on_meta("segnet", 32, 16)) / segnet["seconds"] / 1e9
    assert segnet["share_of_peak"] == pytest.approx(rate / segnet["gemm_gflops_per_s"])
    measured = ["parameters", "gflops", "rounds", "seconds", "memory_mib", "share_of_peak"]
    assert table.loc[1, measured].isna().all()
    assert missing["note"] == "not installed; `make nnunet` installs it"


def test_a_network_too_large_for_the_memory_leaves_the_others_theirs(
    experiment, two_only, monkeypatch
):
    def killed(function, *arguments):
        if function is cost.measure:
            raise BrokenProcessPool
        return 1.0

    monkeypatch.setattr(cost, "run_in_subprocess", killed)
    row = cost.measure_cost(experiment).iloc[0]
    assert row["note"] == "out of memory at 32 x 16"
    assert row["gflops"] > 0
    assert np.isnan(row["seconds"])


def test_nnunet_plans_eight_stages_for_the_papers_image():
    pytest.importorskip("nnunetv2")
    network, shape = cost.on_meta(NNUNET, cost.ROWS, cost.COLUMNS)
    assert shape == (1, 1, 896, 512)
    assert round(cost.count_parameters(network) / 1e6, 1) == 46.3
    small, shape = cost.build(NNUNET, 64, 32)
    with torch.inference_mode():
        assert small(torch.zeros(shape)).shape == (1, 9, 64, 32)


@pytest.fixture
def measured() -> pd.DataFrame:
    """Round numbers, none of nnU-Net."""
    return pd.DataFrame(
        {
            "model": TABLE3,
            "parameters": pd.array([15e6, 16e6, 50e6, 25e6, None, 22_123_456], "Int64"),
            "seconds": [2.0, 1.0, 5.0, 6.0, np.nan, 3.0],
            "gflops": [500.0, 400.0, 1000.0, 1200.0, np.nan, 750.0],
        }
    )


def test_beside_table4_by_hand(measured):
    table = cost.beside_table4(measured)
    assert list(table["model"]) == [TITLES[name] for name in TABLE3]
    aspp = table.set_index("model").loc["ASPP-UNet"]
    assert aspp["parameters_paper"] == 22.06
    assert aspp["parameters_ours"] == pytest.approx(22.123456)
    assert aspp["parameters_difference"] == pytest.approx(0.063456)
    assert (aspp["seconds_paper"], aspp["seconds_ours"]) == (0.171, 3.0)
    assert aspp["ratio_paper"] == pytest.approx(0.171 / 0.163)
    assert aspp["ratio_ours"] == 1.5
    assert aspp["ratio_difference"] == pytest.approx(1.5 - 0.171 / 0.163)
    assert (aspp["gflops"], aspp["gflops_ratio"]) == (750.0, 1.5)
    missing = table.set_index("model").loc["nnU-Net-2D"]
    assert missing["seconds_paper"] == 0.292
    assert missing.drop(["parameters_paper", "seconds_paper", "ratio_paper"]).isna().all()


def test_written_table_is_read_again_with_every_parameter(experiment, measured, monkeypatch):
    monkeypatch.setattr(cost, "measure_cost", lambda experiment: measured.assign(note=""))
    written = cost.cost_of(experiment)
    monkeypatch.delattr(cost, "measure_cost")
    pd.testing.assert_frame_equal(cost.cost_of(experiment), written)
    assert (experiment.results / "cost.csv").is_file()
    assert list(written.columns[:3]) == ["data", "profile", "device"]
    assert written["parameters"].iloc[-1] == 22_123_456
    pd.testing.assert_frame_equal(
        cost.beside_table4(written), cost.beside_table4(measured), check_dtype=False
    )


def test_figure_shows_each_network_counted(measured):
    table = cost.beside_table4(measured)
    counted = table[table["model"] != "nnU-Net-2D"]
    names = set(counted["model"])
    paper_panel, our_panel = plots.cost(table).axes
    for axes, column in ((paper_panel, "ratio_paper"), (our_panel, "ratio_ours")):
        points = [line.get_xydata()[0] for line in axes.lines if line.get_label() in names]
        np.testing.assert_allclose(points, counted[["gflops_ratio", column]])
