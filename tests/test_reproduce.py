"""All steps without Snakemake, at toy size: time limits, other machines, and what results say."""

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

from spineseg.evaluation.segmenters import open_segmenter
from spineseg.experiment import Experiment
from spineseg.fingerprint import PACKAGE
from spineseg.inference.segmenter import to_scan_grid
from spineseg.labels import CLASSES
from spineseg.phantom import plan_shapes
from spineseg.profiles import load_profile
from spineseg.runs import is_finished
from spineseg.training.checkpoint import load_checkpoint
from spineseg.training.loop import Training
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json
from spineseg.workflow.gather import results_of
from spineseg.workflow.prepare import prepare
from spineseg.workflow.reproduce import reproduce

DATA = "simulated-6"
MODELS = ("aspp_unet", "unet")


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> Path:
    """A workspace that holds the cache and nothing else."""
    root = tmp_path_factory.mktemp("simulated")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        prepare(Experiment.of(DATA, "smoke"))
    shutil.rmtree(root / "runs")
    return root


@pytest.fixture
def experiment(simulated, workspace, monkeypatch) -> Experiment:
    """Two epochs, and little measuring."""
    shutil.copytree(simulated, workspace, dirs_exist_ok=True)
    costs = pd.DataFrame({"model": MODELS, "parameters": 1, "gflops": 1.0, "seconds": 1.0})
    monkeypatch.setattr(
        "spineseg.benchmark.cost.measure_cost", lambda rows: costs.assign(rows=rows, note="")
    )
    base = Experiment.of(DATA, "smoke")
    return replace(base, profile=replace(base.profile, epochs=2))


def stop_after(epochs: int, patch: pytest.MonkeyPatch) -> None:
    """Let the time be over after this number of epochs, counted over all runs."""
    begun = []

    def epoch(self, number, bar, original=Training._epoch):
        begun.append(number)
        return original(self, number, bar)

    def monotonic() -> float:
        return np.inf if len(begun) >= epochs else 0.0

    patch.setattr(Training, "_epoch", epoch)
    clock = SimpleNamespace(perf_counter=time.perf_counter, monotonic=monotonic, time=time.time)
    for module in ("training.loop", "workflow.train"):
        patch.setattr(f"spineseg.{module}.time", clock)


def test_the_number_of_patients_is_part_of_the_name():
    assert Experiment.of("simulated", "paper").simulated_patients == 172
    experiment = Experiment.of("simulated-20", "paper")
    assert (experiment.name, experiment.simulated_patients) == ("simulated-20-paper", 20)
    assert not experiment.starts_from_simulated
    assert not Experiment.of("simulated", "laptop").starts_from_simulated


def test_adamw_recipe_differs_from_the_papers_in_its_optimiser_alone():
    paper, other = load_profile("paper"), load_profile("paper-adamw")
    differing = {
        setting for setting in vars(paper) if getattr(paper, setting) != getattr(other, setting)
    }
    optimiser = {"optimizer", "learning_rate", "weight_decay", "schedule"}
    assert differing == {"name", *optimiser}


def test_simulated_patients_are_those_of_the_phantom_of_that_shape(phantom, workspace):
    """Of Table 1's shapes the most common is the target grid: such a scan is resampled nowhere."""
    written = prepare(Experiment.of(phantom, "smoke"))
    size = written.index["size"]
    base = Experiment.of("simulated-10", "smoke")
    simulated = prepare(replace(base, profile=replace(base.profile, image_size=size)))
    assert simulated.images.shape == written.images.shape
    assert simulated.index["folds"] == written.index["folds"]
    rows = range(10)
    same = [n for n in rows if np.array_equal(simulated.masks[n], written.masks[n])]
    shapes = plan_shapes(10, 1 / 16, seed=0)
    assert same == [n for n in rows if shapes[n] == (12, size, size)]
    assert len(same) >= 5
    assert all(np.array_equal(simulated.images[n], written.images[n]) for n in same)
    for n in same:
        case = written.index["cases"][n]
        assert simulated.spacing(case) == pytest.approx(written.spacing(case), rel=1e-5)


def test_all_steps_leave_their_numbers(experiment, trained):
    assert reproduce(experiment, MODELS, [0])
    assert results_of(experiment).name == "simulated-6-smoke"
    names = {path.name for path in experiment.results.iterdir()}
    assert {"cost.csv", "curves.csv", "provenance.json", "runs.json", "scores.csv"} <= names
    assert {"noise.csv", "examples.npz", "summary.csv", "table3.csv"} <= names
    of_scans = trained / "results" / "phantom-mini-smoke"
    for name in ("scores.csv", "curves.csv", "summary.csv", "noise.csv"):
        table = pd.read_csv(experiment.results / name)
        assert list(table) == list(pd.read_csv(of_scans / name, nrows=1)), name
        assert set(table["profile"]) == {"smoke"}
        assert set(table["data"]) == {DATA}
        assert table["device"].notna().all()
    scores = pd.read_csv(experiment.results / "scores.csv")
    assert set(scores["metric"]) == {"DSC", "IoU"}
    assert set(scores["aggregation"]) == {"volume"}
    runs = read_json(experiment.results / "runs.json")
    assert [run["model"] for run in runs] == list(MODELS)
    assert all({"device", "precision", "versions", "grid"} <= run.keys() for run in runs)


def test_scores_are_those_of_the_scans_own_grid(experiment):
    """The grid of a simulated scan is the target grid: predicting as for any scan agrees."""
    reproduce(experiment, ["aspp_unet"], [0])
    cache = prepare(experiment)
    run = experiment.run("aspp_unet", 0)
    segmenter = open_segmenter(run)
    (case,) = segmenter.record.test
    (row,) = cache.rows([case])
    scan = sitk.GetImageFromArray(cache.images[row])
    gray = np.ascontiguousarray(cache.images[row][..., segmenter.grid.window])
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
def test_another_machine_resumes_and_the_numbers_are_those_of_an_uninterrupted_run(
    experiment, simulated, monkeypatch, tmp_path_factory, epochs
):
    """Stopped within the first or the second run; then only the experiment's folder is copied."""
    with pytest.MonkeyPatch.context() as patch:
        stop_after(epochs, patch)
        assert not reproduce(experiment, MODELS, [0], minutes=60)
    logs = [experiment.run(model, 0) / "log.csv" for model in MODELS]
    assert sum(len(pd.read_csv(log)) for log in logs if log.is_file()) == epochs
    assert (experiment.results / "scores.csv").is_file() == (epochs > 2)
    begun = experiment.runs

    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path_factory.mktemp("another")))
    shutil.copytree(begun, experiment.runs)
    for run in experiment.runs.glob("*-fold-*"):
        if (run / "scores.csv").is_file():  # its checkpoint is not needed any more
            (run / "checkpoint.pt").unlink()
    assert reproduce(experiment, MODELS, [0])
    pieces = experiment.results, load_checkpoint(experiment.run("unet", 0))["network"]

    unbroken = shutil.copytree(simulated, tmp_path_factory.mktemp("unbroken"), dirs_exist_ok=True)
    monkeypatch.setenv("SPINESEG_ROOT", str(unbroken))
    assert reproduce(experiment, MODELS, [0])
    for name in ("scores.csv", "curves.csv", "summary.csv", "noise.csv"):
        assert (experiment.results / name).read_bytes() == (pieces[0] / name).read_bytes(), name
    for name, value in load_checkpoint(experiment.run("unet", 0))["network"].items():
        assert torch.equal(value, pieces[1][name]), name


def test_an_epoch_that_does_not_fit_does_not_begin(experiment, capsys):
    assert not reproduce(experiment, MODELS, [0], minutes=0)
    assert not experiment.run("aspp_unet", 0).joinpath("log.csv").is_file()
    assert (
        "aspp_unet-fold-0-seed-0: time is up; the same command resumes" in capsys.readouterr().err
    )
    assert not experiment.results.exists()


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    ],
)
def test_what_does_not_fit_into_memory_is_left_out(experiment, monkeypatch, error):
    def run(self, folder, until, original=Training.run):
        if self.record.model == "aspp_unet":
            raise error
        original(self, folder, until)

    monkeypatch.setattr(Training, "run", run)
    with pytest.raises(UserError, match=r"ASPP-UNet does not fit into the memory of this device"):
        reproduce(experiment, MODELS, [0])
    assert set(pd.read_csv(experiment.results / "scores.csv")["model"]) == {"unet"}
    assert not is_finished(experiment.run("aspp_unet", 0))


def test_a_finished_run_of_other_settings_is_refused(experiment):
    reproduce(experiment, MODELS, [0])
    other = replace(experiment, profile=replace(experiment.profile, margin=0.1))
    with pytest.raises(UserError, match="differs in data_key"):
        reproduce(other, MODELS, [0])


def test_what_need_not_be_installed_is_not_needed(workspace):
    """Neither in the process nor in those that it starts."""
    missing = ("SimpleITK", "monai", "papermill", "snakemake", "nbformat", "matplotlib", "seaborn")
    blocked = workspace / "blocked"
    blocked.mkdir()
    for name in missing:
        (blocked / f"{name}.py").write_text(f"raise ImportError('{name} is not here')\n")
    code = """
if __name__ == "__main__":
    import pandas as pd
    import spineseg.benchmark.cost as cost
    from spineseg import cli
    costs = {"model": ["unet", "aspp_unet"], "parameters": 1, "gflops": 1.0, "seconds": 1.0}
    cost.measure_cost = lambda rows: pd.DataFrame(costs).assign(note="")
    command = "reproduce --data simulated-5 --profile smoke --models unet --folds 0"
    raise SystemExit(cli.main(command.split()))
"""
    (workspace / "run.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": f"{blocked}{os.pathsep}{PACKAGE.parent}"}
    command = [sys.executable, str(workspace / "run.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = Path(done.stdout.splitlines()[-1])
    assert results == workspace / "results" / "simulated-5-smoke"
    assert set(pd.read_csv(results / "scores.csv")["metric"]) == {"DSC", "IoU"}


def test_several_seeds_are_results_of_one_experiment_and_are_not_replaced_by_fewer(experiment):
    for _ in range(2):  # the second call finds all of it done
        assert reproduce(experiment, ["unet"], [0], seeds=[0, 2])
    runs = read_json(experiment.results / "runs.json")
    assert [(run["model"], run["seed"]) for run in runs] == [("unet", 0), ("unet", 2)]
    scores = pd.read_csv(experiment.results / "scores.csv")
    losses = pd.read_csv(experiment.results / "curves.csv").groupby("seed")["train_loss"].sum()
    assert set(scores["seed"]) == {0, 2}
    assert losses[0] != losses[2]
    assert set(pd.read_csv(experiment.results / "summary.csv")["seeds"]) == {2}
    with pytest.raises(UserError, match="holds runs of several seeds"):
        reproduce(experiment, MODELS, [0])
