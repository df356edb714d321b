"""The paper's own scale, at toy size: order, pieces, other machines, and what results say."""

import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

from spineseg.data.preprocess import prepare
from spineseg.experiment import Experiment
from spineseg.fingerprint import LIBRARY
from spineseg.labels import CLASSES
from spineseg.paper.printed import full_scale as scale
from spineseg.phantom import plan_shapes
from spineseg.phantom.on_grid import prepare_simulated
from spineseg.runs import RunError
from spineseg.training.loop import Training, load_checkpoint
from spineseg.utils.files import read_json
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow import full
from spineseg.workflow.full import full_experiment, run_full
from spineseg.workflow.predict import open_run, to_scan_grid

CASES = 6
MODELS = ("aspp_unet", "unet")


@pytest.fixture
def quick_to_measure(monkeypatch) -> None:
    """Two methods, and little of each."""
    monkeypatch.setattr(full, "ORDER", MODELS)
    monkeypatch.setattr(full, "BENCHMARK_SECONDS", 0.01)
    monkeypatch.setattr(full, "measure_cost", lambda experiment: pd.DataFrame({"model": ["unet"]}))


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A workspace that holds the scans and nothing else."""
    root = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        prepare_simulated(full_experiment("smoke").profile, CASES)
    return root


@pytest.fixture
def experiment(simulated, workspace, quick_to_measure) -> Experiment:
    shutil.copytree(simulated, workspace, dirs_exist_ok=True)
    return full_experiment("smoke", 2)


def stop_after(epochs: int, patch: pytest.MonkeyPatch) -> None:
    """Let the time of training be over after so many epochs, counted over all runs."""
    begun = []

    def epoch(self, number, bar, original=Training._epoch):
        begun.append(number)
        return original(self, number, bar)

    def monotonic() -> float:
        return np.inf if len(begun) >= epochs else 0.0

    patch.setattr(Training, "_epoch", epoch)
    clock = SimpleNamespace(perf_counter=time.perf_counter, monotonic=monotonic)
    patch.setattr("spineseg.training.loop.time", clock)


def test_profile_says_for_how_many_epochs():
    experiment = full_experiment("full", 3)
    assert (experiment.name, experiment.profile.epochs) == ("phantom-full-3epochs", 3)
    assert full_experiment("full").name == "phantom-full-50epochs"
    assert full_experiment("full-adamw", 1).name == "phantom-full-adamw-1epoch"


def test_adamw_recipe_differs_from_the_papers_in_its_optimiser_alone():
    paper, other = full_experiment("full").profile, full_experiment("full-adamw").profile
    differing = {knob for knob in vars(paper) if getattr(paper, knob) != getattr(other, knob)}
    optimiser = {"optimizer", "learning_rate", "weight_decay", "schedule"}
    assert differing == {"name", *optimiser}


def test_order_of_the_steps():
    assert full.ORDER[:2] == ("aspp_unet", "unet")
    assert full.ORDER[2:5] == ("segnet", "deeplabv3", "unet3d")
    assert set(full.ORDER[5:]) == {name for name in full.ABLATION if name not in full.ORDER[:5]}


def test_simulated_scans_are_those_of_the_set_where_it_has_this_shape(phantom, workspace):
    """Of Table 1's shapes the most common is the unified grid: such a scan is resampled nowhere."""
    written = prepare(Experiment.of(phantom, "smoke"))
    size = written.index["size"]
    simulated = prepare_simulated(replace(full_experiment("smoke").profile, image_size=size), 10)
    assert simulated.images.shape == written.images.shape
    assert simulated.index["folds"] == written.index["folds"]
    rows = range(10)
    same = [n for n in rows if np.array_equal(simulated.masks[n], written.masks[n])]
    shapes = plan_shapes(10, 1 / 16, seed=0)
    assert same == [n for n in rows if shapes[n] == (12, size, size)]
    assert len(same) >= 5
    assert all(np.array_equal(simulated.images[n], written.images[n]) for n in same)


def test_all_steps_land_their_numbers(experiment):
    assert run_full(experiment, CASES, [0])
    names = {path.name for path in experiment.results.iterdir()}
    assert names == {
        *("benchmark.csv", "cost.csv", "curves.csv", "provenance.json"),
        *("runs.json", "scores.csv", "summary.csv"),
    }
    assert experiment.results.name == "phantom-smoke-2epochs"
    quick = REPOSITORY / "results" / "phantom-quick"
    for name in ("scores.csv", "curves.csv", "summary.csv"):
        table = pd.read_csv(experiment.results / name)
        assert list(table) == list(pd.read_csv(quick / name, nrows=1)), name
        assert set(table["profile"]) == {"smoke-2epochs"}
        assert set(table["data"]) == {"phantom"}
        assert table["device"].notna().all()
    runs = read_json(experiment.results / "runs.json")
    assert [run["model"] for run in runs] == list(MODELS)
    for run in runs:
        assert run["epochs"] == 2
        assert run["scans"] == full.SCANS
        assert {"device", "versions", "grid"} <= run.keys()
    benchmark = pd.read_csv(experiment.results / "benchmark.csv")
    assert benchmark["model"].tolist() == list(MODELS)
    assert (benchmark[["seconds", "epoch_seconds"]] > 0).all(axis=None)


def test_scores_are_those_of_the_scans_own_grid(experiment):
    """The grid of a simulated scan is the unified one: predicting as for any scan agrees."""
    run_full(experiment, CASES, [0])
    cache = prepare_simulated(experiment.profile, CASES)
    run = experiment.run("aspp_unet", 0)
    segmenter = open_run(run)
    (case,) = segmenter.facts["test"]
    (row,) = cache.rows([case])
    scan = sitk.GetImageFromArray(cache.images[row])
    gray = np.ascontiguousarray(cache.images[row][..., slice(*segmenter.grid.columns)])
    predicted = to_scan_grid(segmenter.probabilities(gray), segmenter.grid, scan)
    truth = cache.masks[row]
    scores = pd.read_csv(run / "scores.csv").query("aggregation == 'volume' and metric == 'DSC'")
    assert len(scores) >= 7
    for name, value in scores.set_index("class")["value"].items():
        label = CLASSES.index(name)
        both = ((predicted == label) & (truth == label)).sum()
        sizes = (predicted == label).sum() + (truth == label).sum()
        assert value == pytest.approx(2 * both / sizes, abs=1e-5)


@pytest.mark.parametrize("epochs", [1, 3])
def test_another_machine_goes_on_and_the_numbers_are_those_of_an_unbroken_run(
    experiment, simulated, monkeypatch, tmp_path_factory, epochs
):
    """Stopped within the first or the second run; then only the experiment's folder is copied."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(epochs, patch)
        assert not run_full(experiment, CASES, [0], minutes=60)
    logs = [experiment.run(model, 0) / "log.csv" for model in MODELS]
    assert sum(len(pd.read_csv(log)) for log in logs if log.is_file()) == epochs
    assert (experiment.results / "scores.csv").is_file() == (epochs > 2)
    begun = experiment.runs

    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path_factory.mktemp("another")))
    shutil.copytree(begun, experiment.runs)
    benchmark = (experiment.runs / "benchmark.csv").read_bytes()
    for run in experiment.runs.glob("*-fold-*"):
        if (run / "scores.csv").is_file():  # its checkpoint need not travel
            (run / "checkpoint.pt").unlink()
    assert run_full(experiment, CASES, [0])
    assert (experiment.results / "benchmark.csv").read_bytes() == benchmark
    pieces = experiment.results, load_checkpoint(experiment.run("unet", 0))["network"]

    unbroken = shutil.copytree(simulated, tmp_path_factory.mktemp("unbroken"), dirs_exist_ok=True)
    monkeypatch.setenv("SPINESEG_ROOT", str(unbroken))
    assert run_full(experiment, CASES, [0])
    for name in ("scores.csv", "curves.csv", "summary.csv"):
        assert (experiment.results / name).read_bytes() == (pieces[0] / name).read_bytes(), name
    for name, value in load_checkpoint(experiment.run("unet", 0))["network"].items():
        assert torch.equal(value, pieces[1][name]), name


def test_an_epoch_that_does_not_fit_is_not_begun(experiment, capsys):
    assert not run_full(experiment, CASES, [0], minutes=0)
    assert not experiment.run("aspp_unet", 0).joinpath("log.csv").is_file()
    assert "aspp_unet fold 0 takes about" in capsys.readouterr().err
    assert (experiment.results / "benchmark.csv").is_file()
    assert not (experiment.results / "scores.csv").exists()


def test_what_does_not_fit_into_memory_is_left_out(experiment, monkeypatch):
    def measure(model, width, shape, original=full.measure_step):
        if model == "aspp_unet":
            raise torch.OutOfMemoryError
        return original(model, width, shape)

    monkeypatch.setattr(full, "measure_step", measure)
    assert run_full(experiment, CASES, [0])
    benchmark = pd.read_csv(experiment.results / "benchmark.csv").set_index("model")
    assert benchmark.loc["aspp_unet", "note"] == "out of memory, not trained"
    assert set(pd.read_csv(experiment.results / "scores.csv")["model"]) == {"unet"}


def test_a_finished_run_of_other_scans_is_refused(experiment):
    run_full(experiment, CASES, [0])
    with pytest.raises(RunError, match="differs in data_key"):
        run_full(experiment, CASES - 1, [0])


def test_what_need_not_be_installed_is_not_needed(workspace):
    """Neither in the process nor in those that it starts; the report of versions says so."""
    missing = ("SimpleITK", "monai", "papermill", "snakemake", "nbformat")
    blocked = workspace / "blocked"
    blocked.mkdir()
    for name in missing:
        (blocked / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    code = """
if __name__ == "__main__":
    import pandas as pd
    from spineseg import cli
    from spineseg.workflow import full
    full.ORDER = ("unet",)
    full.BENCHMARK_SECONDS = 0.01
    full.measure_cost = lambda experiment: pd.DataFrame({"model": ["unet"]})
    raise SystemExit(cli.main("full --profile smoke --epochs 1 --cases 5 --folds 0".split()))
"""
    (workspace / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": f"{blocked}{os.pathsep}{LIBRARY.parent}"}
    command = [sys.executable, str(workspace / "run.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = Path(done.stdout.splitlines()[-1])
    assert results == workspace / "results" / "phantom-smoke-1epoch"
    assert set(pd.read_csv(results / "scores.csv")["metric"]) == {"DSC", "IoU"}


def test_tables_show_it_beside_the_others(experiment, workspace):
    quick = REPOSITORY / "results" / "phantom-quick"
    own = pd.read_csv(quick / "summary.csv")
    assert scale.beside(own, "summary.csv").equals(own)
    run_full(experiment, CASES, [0])
    experiment.results.rename(workspace / "results" / "phantom-full-2epochs")
    both = scale.beside(own, "summary.csv")
    table = scale.means(both)
    assert [name.split(",")[0] for name in table] == ["quick", "smoke-2epochs"]
    assert table.loc["ASPP-UNet"].str.fullmatch(r"-?[\d.]+ \(.* to .*\)").all()
    assert table.loc["SegNet"].iloc[1] == "not run"
    leads = scale.leads(scale.beside(pd.read_csv(quick / "scores.csv"), "scores.csv"))
    assert leads.groupby("profile", sort=False)["model"].nunique().index.tolist() == [
        *("quick", "smoke-2epochs")
    ]
    assert set(leads.query("profile == 'smoke-2epochs'")["model"]) == {"unet"}
