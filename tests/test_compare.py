"""Whether a new run is what the spread of the stored ones lets one expect."""

import os
import shutil

import numpy as np
import pandas as pd
import pytest

from spineseg.experiment import Experiment
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.workflow import compare
from spineseg.workflow.gather import Run

MODEL = "aspp_unet"


def test_the_interval_holds_the_next_value_as_often_as_it_says():
    values = np.random.default_rng(0).normal(80, 2, (20_000, 4))
    inside = 0
    for *stored, new in values:
        low, high = compare.prediction_interval(np.array(stored))
        inside += low <= new <= high
    assert inside / len(values) == pytest.approx(compare.CONFIDENCE, abs=0.006)


def test_one_value_tells_nothing_of_the_spread():
    assert np.isnan(compare.prediction_interval(np.array([80.0]))).all()


@pytest.fixture
def experiment(phantom, trained, workspace) -> Experiment:
    """An experiment with one gathered run, in a workspace of the test's own."""
    for part in ("runs", "results"):
        shutil.copytree(trained / part, workspace / part)
    return Experiment.of(phantom, "smoke")


def store(experiment: Experiment, *differences: float) -> None:
    """Store the run once per difference (points of DSC and IoU), each under another seed."""
    path = experiment.results / "scores.csv"
    scores = pd.read_csv(path)
    others = [scores.iloc[:0]] + [
        scores.assign(seed=seed, value=scores["value"] + difference / 100)
        for seed, difference in enumerate(differences)
    ]
    pd.concat(others).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("differences", "verdict"),
    [((-1.0, 0.0, 1.0), "reproduced"), ((19.0, 20.0, 21.0), "not reproduced")],
)
def test_a_line_says_whether_a_run_was_reproduced(experiment, differences, verdict):
    store(experiment, *differences)
    (line,) = compare.compare_with_stored(experiment, [Run(MODEL, 0)])
    assert line.startswith(f"ASPP-UNet fold 0: {verdict}; DSC ")
    assert "expected" in line
    assert compare.read_verdict_lines(experiment) == [line]
    table = pd.read_csv(experiment.runs / "reproduced.csv")
    assert [*table["metric"]] == ["DSC", "IoU"]
    assert table["seeds"].eq(3).all()
    assert np.allclose(table["stored"] - table["ours"], np.mean(differences), atol=1e-3)
    assert np.allclose(table["high"] - table["low"], 2 * 4.3027 * np.sqrt(4 / 3), atol=1e-2)


def test_too_few_stored_runs_give_no_verdict(experiment):
    (line,) = compare.compare_with_stored(experiment, [Run(MODEL, 0)])
    assert line.startswith("ASPP-UNet fold 0: fewer than two stored runs to compare with; DSC ")
    store(experiment)  # none
    (line,) = compare.compare_with_stored(experiment, [Run(MODEL, 0)])
    assert line.startswith("ASPP-UNet fold 0: fewer than two stored runs to compare with; DSC ")


def test_stored_runs_of_other_settings_are_refused(experiment):
    runs = read_json(experiment.results / "runs.json")
    runs[0]["profile"]["epochs"] = 99
    write_json(experiment.results / "runs.json", runs)
    with pytest.raises(UserError, match="made with other epochs; restore profiles/"):
        compare.compare_with_stored(experiment, [Run(MODEL, 0)])


def test_a_comparison_with_older_scores_is_not_shown(experiment):
    lines = compare.compare_with_stored(experiment, [Run(MODEL, 0)])
    assert compare.read_verdict_lines(experiment) == lines
    later = (experiment.runs / "reproduced.csv").stat().st_mtime + 60
    os.utime(experiment.results / "scores.csv", (later, later))
    assert compare.read_verdict_lines(experiment) == []


def test_every_run_that_is_missing_is_named(experiment):
    with pytest.raises(UserError) as error:
        compare.compare_with_stored(experiment, [Run(MODEL, 0), Run(MODEL, 1), Run("unet", 3)])
    missing = [experiment.run(MODEL, 1), experiment.run("unet", 3)]
    assert [problem.path for problem in error.value.problems] == missing
    assert not (experiment.runs / "reproduced.csv").exists()
