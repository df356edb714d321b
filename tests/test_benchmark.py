import os
from functools import partial

import numpy as np
import pytest
import torch

from spineseg import benchmark, figures
from spineseg.benchmark import growth, networks, run, start_up, timing, volumes
from spineseg.evaluation import provenance
from spineseg.experiment import Experiment
from spineseg.models import build_model, counting
from spineseg.profiles import load_profile
from spineseg.training.device import make_fabric
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow.predict import predict_scan

TINY = networks.Size(32, 16, 4, 2, budget=0.2)


@pytest.fixture
def tiny(monkeypatch):
    sizes = {(part, "tiny"): TINY for part in (networks.TRAINING, networks.INFERENCE)}
    monkeypatch.setattr(networks, "SIZES", sizes)
    monkeypatch.setattr(networks, "gemm_rate", lambda: 1e12)


def test_contenders_take_turns_and_the_first_round_warms_up(monkeypatch):
    turns = []
    seconds = iter([9, 9, 1, 2, 2, 6, 3, 6])
    monkeypatch.setattr(timing, "timed", lambda fabric, work: (work(), next(seconds))[1])
    works = {name: lambda name=name: turns.append(name) for name in ("a", "b")}
    found = timing.time_interleaved(works, budget=60, rounds=3)
    assert turns == ["a", "b"] * 4
    assert (found["a"]["rounds"], found["a"]["seconds"], found["b"]["seconds"]) == (3, 2, 6)
    assert (found["a"]["ratio"], found["b"]["ratio"]) == (1, 2)  # of 2, 3 and 2
    assert (found["b"]["ratio_low"], found["b"]["ratio_high"]) == (2, 2.5)


def test_a_first_round_that_uses_up_the_budget_counts(monkeypatch):
    monkeypatch.setattr(timing, "timed", lambda fabric, work: 5.0)
    found = timing.time_interleaved({"a": lambda: None}, budget=0)
    assert (found["a"]["rounds"], found["a"]["seconds"]) == (1, 5.0)


@pytest.mark.parametrize("part", [networks.TRAINING, networks.INFERENCE])
@pytest.mark.parametrize("name", ["aspp_unet", "unet3d"])
def test_a_network_beside_its_plain_form(part, name, tiny):
    ours, plain = networks.against_plain(part, "tiny", name)
    assert (ours["version"], plain["version"]) == (networks.OURS, networks.PLAIN_VERSION)
    assert ours["ratio"] == 1
    assert plain["ratio"] > 0
    network = counting.on_meta(name, width=4)
    passes = 3 if part == networks.TRAINING else 1
    slices = counting.SLICES if name == "unet3d" else 2
    expected = passes * counting.flops(network, TINY.shape(name)) * slices / 1e9
    assert ours["batch"] == TINY.shape(name)[0]
    assert ours["gflops"] == plain["gflops"] == pytest.approx(expected)
    assert ours["share_of_peak"] == pytest.approx(expected / ours["seconds"] / 1000)


@pytest.mark.parametrize("name", ["aspp_unet", "segnet"])
def test_steps_work_on_a_copy_and_give_the_output_of_the_network(name):
    network = build_model(name, 4)
    before = [p.clone() for p in network.parameters()]
    fabric = make_fabric(4)
    networks.training_step(network, (2, 1, 32, 16), fabric)()
    assert all(map(torch.equal, before, network.parameters()))
    found = networks.inference_step(network, (2, 1, 32, 16), fabric)()
    inputs = networks._batch((2, 1, 32, 16))[0]
    with torch.inference_mode():
        torch.testing.assert_close(found.float(), network.eval()(inputs), atol=0.05, rtol=0.05)


def test_the_width_of_equal_work_is_found():
    shape = (2, 1, 32, 16)
    peer = counting.on_meta("unet", width=12)
    assert networks.equal_width(shape, peer, shape)[0] == 12
    width, ours, theirs = networks.equal_width((1, 1, 32, 16), peer, shape)
    assert width == 16  # half the pixels, so 2 ** 0.5 times the width, to a multiple of 4
    assert abs(ours / theirs - 1) < 0.15


def test_ratios_to_a_peer_are_those_of_equal_work(tiny):
    ours, peer, helped = networks.against_peer(networks.INFERENCE, "tiny", networks.BASIC_UNET)
    assert ours["width"] % networks.WIDTH_STEP == 0
    assert ours["ratio"] == 1
    assert peer["gflops"] == helped["gflops"] != ours["gflops"]
    rates = ours["gflops_per_s"] / peer["gflops_per_s"]
    assert rates / 3 < peer["ratio"] < rates * 3  # medians of both, over few rounds


def test_finished_runs_agree_with_their_plain_networks_and_others_have_no_rows(
    trained, phantom, monkeypatch
):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    monkeypatch.setattr(volumes, "time_interleaved", partial(timing.time_interleaved, rounds=1))
    experiment = Experiment(phantom, load_profile("smoke"))
    (row,) = volumes.agreement(experiment, "aspp_unet")
    assert row["rounds"] == 2
    assert 0.98 < row["agreement"] <= 1  # after three epochs many pixels are near ties
    assert volumes.agreement(experiment, "segnet") == []
    ours, command = volumes.labelling(experiment, predict_scan)
    assert 0 < ours["seconds"] < command["seconds"]


def test_preprocessing_is_timed_per_volume(monkeypatch):
    monkeypatch.setattr(volumes, "PHANTOM_SCALES", {"tiny": 0.05})
    monkeypatch.setattr(volumes, "CASES", {"tiny": 2})
    monkeypatch.setattr(volumes, "nnunet_is_installed", lambda: False)
    works = {}

    def measured(contenders, budget, rounds):
        works.update(contenders)
        return {name: {"rounds": 1, "seconds": 8.0, "ratio": 1.0} for name in contenders}

    monkeypatch.setattr(volumes, "time_interleaved", measured)
    before = os.environ.get("SPINESEG_ROOT")
    (row,) = volumes.preprocessing("tiny")
    assert (row["seconds"], row["ratio"], list(works)) == (4.0, 1.0, ["ours"])
    assert os.environ.get("SPINESEG_ROOT") == before


def test_an_iteration_beside_nnunets_trainer(monkeypatch):
    pytest.importorskip("nnunetv2")
    monkeypatch.setattr(volumes, "PHANTOM_SCALES", {"small": 0.0625})
    monkeypatch.setattr(volumes, "CASES", {"small": 6})
    monkeypatch.setattr(volumes, "ITERATIONS", 1)
    ours, nnunet = volumes.iteration()
    assert ours["ratio"] == 1
    assert nnunet["ratio"] > 0
    assert 0.8 < ours["gflops"] / nnunet["gflops"] < 1.25


def test_growth_measures_what_its_axis_says(monkeypatch):
    monkeypatch.setattr(growth, "run_in_subprocess", lambda function, *given: function(*given))
    monkeypatch.setattr(growth, "time_interleaved", partial(timing.time_interleaved, rounds=1))
    monkeypatch.setattr(growth, "STEPS", 1)
    (row,) = growth.with_cases(6)
    assert (row["axis"], row["value"], row["what"]) == ("cases", 6, "preprocessing")
    inference, training = growth.with_rows(48)
    assert (inference["what"], training["what"]) == ("inference", "training")
    assert training["seconds"] > inference["seconds"] > 0
    (row,) = growth.with_jobs(1)
    assert row["rounds"] == growth.STEPS


def test_start_up_of_each_notebook_is_measured():
    functions = list(start_up.measurements())
    notebooks = list((REPOSITORY / "notebooks").glob("*.ipynb"))
    assert sum(function is start_up.of_notebook for function, _ in functions) == len(notebooks) > 0
    (row,) = start_up.of_import("spineseg")
    assert 0 < row["seconds"] < 5


def dies() -> list:
    os._exit(1)


def rows(count: int) -> list[dict]:
    return [{"what": "x", "seconds": count}] * count


def test_tables_name_the_device_and_failures_are_reported(workspace, monkeypatch, capsys):
    for module, measurements in (
        (networks, [(rows, (2,)), (dies, ())]),
        (growth, [(rows, (0,)), (rows, (1,))]),
        (start_up, [(rows, (1,))]),
    ):
        monkeypatch.setattr(module, "measurements", lambda found=measurements: iter(found))
    monkeypatch.setattr(volumes, "measurements", lambda *given: iter([]))
    here = lambda function, *given: (  # noqa: E731
        timing.run_in_subprocess(function) if function is dies else function(*given)
    )
    monkeypatch.setattr(run, "run_in_subprocess", here)
    folder = run.run_benchmark(Experiment(workspace, load_profile("smoke")), predict_scan)
    assert folder == workspace / "results" / "benchmark"
    assert benchmark.table_file("speed").parent == folder
    said = capsys.readouterr().err
    assert "dies: out of memory, left out" in said
    assert "rows 0: nothing to measure it on, left out" in said
    assert [len(benchmark.read(name)) for name in benchmark.TABLES] == [2, 1, 1]
    assert all(benchmark.read(name)["device"].notna().all() for name in benchmark.TABLES)
    assert provenance.changed_files(folder) == {}


def test_a_machine_without_tables_shows_the_committed_ones(workspace):
    shown = benchmark.read("speed")
    assert {networks.OURS, networks.PLAIN_VERSION} <= set(shown["version"])
    assert not benchmark.folder().exists()


def test_figures_show_every_ratio_and_every_size():
    speed, grown = benchmark.read("speed"), benchmark.read("growth")
    expected = speed[speed["ratio"].notna() & ~speed["version"].str.startswith("ours")]["ratio"]
    drawn = [
        x
        for axes in figures.speed(speed).axes
        for container in axes.containers
        for x in container.lines[0].get_xdata()
    ]
    np.testing.assert_allclose(sorted(drawn), sorted(expected))
    lines = [line.get_ydata() for axes in figures.growth(grown).axes for line in axes.lines]
    values = np.concatenate(lines)
    assert set(grown["seconds"]) <= set(values)
    assert set(grown["memory_mib"].dropna()) <= set(values)
