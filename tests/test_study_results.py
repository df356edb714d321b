"""The study at toy size: one method on few patients, from the search to the stored tables."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path

import pandas as pd
import pytest

from spineseg import cli, commands
from spineseg.evaluation.result_files import CEILING, COST
from spineseg.experiment import Experiment
from spineseg.utils.files import read_json, write_json
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow import study, study_results
from spineseg.workflow.gather import results_of

MODEL = "unet"


@pytest.fixture
def experiment(tmp_path, monkeypatch) -> Experiment:
    """The only experiment of the study."""
    return set_up(tmp_path, monkeypatch)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> tuple[Path, str]:
    """The folder of a study that was carried out, and what it said."""
    root, said = tmp_path_factory.mktemp("study"), StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said):
        set_up(root, patch)
        assert cli.main(["study", "--workers", "1"]) == 0
    return root, said.getvalue()


@pytest.fixture
def studied(finished, tmp_path, monkeypatch) -> Experiment:
    """The experiment in a copy of the study that was carried out."""
    shutil.copytree(finished[0], tmp_path, dirs_exist_ok=True)
    return set_up(tmp_path, monkeypatch)


def set_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """Make the study small, with everything it writes under `root`."""
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    experiment = Experiment.of("simulated-6", "smoke")
    tuned = root / "tuned.csv"
    monkeypatch.setattr("spineseg.profiles.TUNED", tuned)
    for name, value in {
        "TUNED": tuned,
        "RATES": (0.001, 0.004),
        "LENGTHS": (1, 2),
        "SEEDS": (0, 1),
        "TRAINED_OUT": 200.0,  # the fewest epochs are enough
        "ProcessPoolExecutor": lambda workers, *_: ThreadPoolExecutor(workers),
        "chains": lambda: [chain(experiment)],
    }.items():
        monkeypatch.setattr(study, name, value)
    for module in (study, study_results):
        monkeypatch.setattr(module, "experiments", lambda: [experiment])
    monkeypatch.setattr(study_results, "_simulate_phantom", lambda: None)
    monkeypatch.setattr(study_results, "write_cost", copy_cost)
    return experiment


def copy_cost(experiment: Experiment) -> None:
    """A stored cost; to measure one takes most of a minute."""
    shutil.copy(REPOSITORY / "results" / "phantom-mini-smoke" / COST.name, experiment.results)


def chain(experiment: Experiment, model: str = MODEL) -> study.Chain:
    """As that of a method of Table 3, without the phantom."""
    rate = yield from study.choose_rate(experiment, model)
    epochs = yield from study.choose_epochs(experiment, model, rate)
    study.write_tuned(experiment.profile.name, model, rate, epochs)
    yield [study.Job(experiment, model, 0, seed) for seed in study.SEEDS]


def test_the_whole_study_leaves_its_tables(finished, studied, tmp_path, monkeypatch, capsys):
    assert "is not known: no results of it are stored" in finished[1]
    assert results_of(studied)
    runs = read_json(studied.results / "runs.json")
    assert [(run["model"], run["fold"], run["seed"]) for run in runs] == [
        (MODEL, "0", 0),
        (MODEL, "0", 1),
    ]
    validation = pd.read_csv(studied.results / "validation.csv")
    assert sorted(validation["epochs"].unique()) == [1, 3, 6]
    search = pd.read_csv(studied.results / "search.csv")
    (chosen,) = search[search["chosen"]].to_dict("records")
    assert chosen["epochs"] == runs[0]["epochs"] == 3
    assert chosen["learning_rate"] == runs[0]["profile"]["learning_rate"]
    convergence = pd.read_csv(studied.results / "convergence.csv")
    assert convergence["epochs"].tolist() == [3]
    assert convergence["change"].notna().all()
    scores = pd.read_csv(studied.results / "scores.csv")
    assert set(scores["aggregation"]) == {"volume"}
    for measured in (COST, CEILING):
        assert (studied.results / measured.name).is_file()
    assert not set(scores["case"]) & set(validation["case"])
    assert (studied.results / "provenance.json").is_file()

    assert study_results.estimate_study(2).endswith(" nothing to train: no run is missing")
    shutil.copytree(studied.runs.parent, tmp_path / "elsewhere")
    shutil.rmtree(studied.runs.parent)
    monkeypatch.setattr("spineseg.workflow.estimate.seconds_per_epoch", lambda *_: 60.0)
    # two runs of 3 epochs, and trials of 1, 1, 3 and 6
    words = "of the runs that are stored, to train: 6 runs (U-Net-2D); this takes about {} minutes"
    assert study_results.estimate_study(1) == words.format(17)
    assert study_results.estimate_study(2) == words.format(9)
    shutil.copytree(tmp_path / "elsewhere", studied.runs.parent)
    assert cli.main(["study", "--store-only"]) == 0
    assert capsys.readouterr().out == f"{studied.results}\n"


def test_nothing_to_store_is_an_error(workspace, capsys):
    assert cli.main(["study", "--store-only"]) == 1
    assert capsys.readouterr().err == "study: no run is finished; run `spineseg study` first\n"


def test_results_stay_if_another_method_is_trained_where_their_runs_are_not(
    studied, monkeypatch, capsys
):
    names = ("scores.csv", "curves.csv", "noise.csv", "confusion.csv", "validation.csv")
    before = {name: pd.read_csv(studied.results / name) for name in names}
    drawn = (studied.results / "examples.npz").read_bytes()
    shutil.rmtree(studied.runs.parent)

    monkeypatch.setattr(study, "chains", lambda: [chain(studied, "aspp_unet_1")])
    assert cli.main(["study", "--workers", "1"]) == 0
    assert results_of(studied)
    runs = [(run["model"], run["seed"]) for run in read_json(studied.results / "runs.json")]
    assert runs == [(MODEL, 0), (MODEL, 1), ("aspp_unet_1", 0), ("aspp_unet_1", 1)]
    for name, rows in before.items():
        after = pd.read_csv(studied.results / name)
        assert set(after["model"]) >= {MODEL}, name
        kept = after[after["model"] == MODEL].reset_index(drop=True)
        pd.testing.assert_frame_equal(kept, rows[rows["model"] == MODEL].reset_index(drop=True))
    assert "aspp_unet_1" in set(pd.read_csv(studied.results / "summary.csv")["model"])
    assert (studied.results / "examples.npz").read_bytes() == drawn

    shutil.rmtree(studied.runs.parent)
    monkeypatch.setattr(study, "chains", lambda: [chain(studied, "segnet")])
    capsys.readouterr()
    assert cli.main(["study", "--workers", "1"]) == 0
    assert "examples.npz: without segnet, because the runs of unet" in capsys.readouterr().err
    assert (studied.results / "examples.npz").read_bytes() == drawn
    assert {MODEL, "segnet"} <= set(pd.read_csv(studied.results / "scores.csv")["model"])


def test_a_longer_trial_is_stored_where_the_search_is_not(studied, monkeypatch, capsys):
    """In a fresh clone, the chain goes on with the scores of trials that results/ hold."""
    before = pd.read_csv(studied.results / "validation.csv")
    scores = (studied.results / "scores.csv").read_bytes()
    (rate,) = pd.read_csv(studied.results / "search.csv").query("chosen")["learning_rate"]
    shutil.rmtree(studied.runs.parent)

    longest = study.trial(studied, MODEL, rate, 12)

    def longer() -> study.Chain:
        yield from chain(studied)
        yield [longest]

    assert study.run_chains([iter([[longest]])], 1) == []
    monkeypatch.setattr(study, "chains", lambda: [longer()])
    assert cli.main(["study", "--store-only"]) == 0
    after = pd.read_csv(studied.results / "validation.csv")
    assert sorted(after["epochs"].unique()) == [1, 3, 6, 12]
    kept = after[after["epochs"] < 12].reset_index(drop=True)
    pd.testing.assert_frame_equal(kept, before)
    assert (studied.results / "scores.csv").read_bytes() == scores
    assert 12 in pd.read_csv(studied.results / "search.csv")["epochs"].tolist()

    path = studied.results / "runs.json"
    write_json(path, [run | {"code": "0" * 12} for run in read_json(path)])
    assert cli.main(["study", "--store-only"]) == 1
    assert "made with other code; train this run again" in capsys.readouterr().err


def test_stored_runs_of_other_code_do_not_stay(studied, monkeypatch, capsys):
    shutil.rmtree(studied.runs.parent)
    monkeypatch.setattr(study, "chains", lambda: [chain(studied, "aspp_unet_1")])
    path = studied.results / "runs.json"
    write_json(path, [run | {"code": "0" * 12} for run in read_json(path)])
    assert cli.main(["study", "--workers", "1"]) == 1
    err = capsys.readouterr().err
    for seed in study.SEEDS:
        assert f"runs.json: {MODEL} fold 0 seed {seed}: made with other code; train" in err


def test_the_study_ends_in_time_and_resumes(experiment, capsys):
    assert cli.main(["study", "--workers", "1", "--minutes", "0.00001"]) == commands.TIME_IS_UP
    assert "time is up; the same command resumes" in capsys.readouterr().err
    assert not experiment.results.exists()
    assert study_results.store_results() == []


def test_failed_runs_are_named(experiment, monkeypatch, capsys):
    def fail(*_):
        raise ValueError("no such luck")

    monkeypatch.setattr(study, "train", fail)
    assert cli.main(["study", "--workers", "1"]) == 1
    lines = capsys.readouterr().err.splitlines()[-2:]
    assert all(f"/{MODEL}-fold-validation-seed-0: no such luck" in line for line in lines)


def test_a_trial_belongs_to_the_profile_whose_settings_it_varies():
    small = Experiment.of("simulated", "laptop")
    trial = study.trial(small, MODEL, 0.01, 60)
    assert study_results._is_trial(trial, small)
    assert study_results._is_trial(trial, Experiment.of(None, "laptop"))
    assert not study_results._is_trial(trial, Experiment.of("simulated", "laptop-220"))
    assert not study_results._is_trial(study.Job(small, MODEL), small)
