"""Stored tables against stored scores; where results come from."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spineseg import cli
from spineseg.evaluation.provenance import changed_files, record
from spineseg.evaluation.result_files import (
    AUDIT,
    CONVERGENCE,
    PROVENANCE,
    RUNS,
    SEARCH,
    SUMMARY,
    TABLE3,
    VERDICTS,
)
from spineseg.experiment import Experiment
from spineseg.utils import versions
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_csv
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow import study_results
from spineseg.workflow.gather import trained_profile
from spineseg.workflow.study import experiments
from spineseg.workflow.tables import derived_table, stored_tables, write_tables
from spineseg.workflow.verify import RESTORE, TABULATE, differences, verify, with_sources

COMMITTED = sorted(path.parent for path in (REPOSITORY / "results").glob(f"*/{PROVENANCE}"))
ORIGIN = {"data": "phantom", "commit": "abc", "seed": 0}


@pytest.fixture
def experiment(trained, phantom, workspace):
    """Small results, to be tampered with."""
    shutil.copytree(trained / "results", workspace / "results")
    experiment = Experiment.of(phantom, "smoke")
    record(experiment.results, ORIGIN, "a machine")
    return experiment


@pytest.fixture
def run_verify(phantom):
    """The exit code of `spineseg verify TABLE` on the small results."""
    return lambda table: cli.main(["verify", table, "--data", str(phantom), "--profile", "smoke"])


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda folder: folder.name)
def test_committed_results_are_those_recorded(folder):
    changed = ["git", "-C", str(REPOSITORY), "diff", "--quiet", "HEAD", "--", str(folder)]
    if shutil.which("git") is None or subprocess.run(changed).returncode:
        pytest.skip("these results were regenerated here, or git cannot tell")
    found = {path.name for path in folder.iterdir()} - {PROVENANCE}
    assert not found & set(changed_files(folder))
    content = read_json(folder / PROVENANCE)
    assert found <= set(content["files"])  # some of the smoke experiment's are not committed
    wanted = {"commit", "versions"}
    if folder.name not in ("reliability", "benchmark"):  # of no one experiment
        wanted |= {"data", "data_hash", "split_hash", "profile"}
    for entry in content["files"].values():
        origin = content["origins"][entry["origin"]]
        assert entry["device"]
        assert wanted <= set(origin)
        assert not origin["commit"].endswith("+changes")


@pytest.mark.parametrize("name", [each.name for each in experiments()])
def test_stored_tables_of_the_study_match_to_the_last_digit(name):
    (experiment,) = (each for each in experiments() if each.name == name)
    if not (experiment.results / RUNS).is_file():
        pytest.skip("no results are stored")
    lines = list(verify(experiment))
    stored = [table.name for table in stored_tables(experiment)]
    assert [line.partition(":")[0] for line in lines] == stored
    assert {"summary.csv", "failures.csv"} <= set(stored)


def test_scans_that_are_smaller_than_the_profile_say_how_large_the_image_is(experiment):
    assert experiment.profile.image_size == 64
    assert trained_profile(experiment).image_size == 55


def test_a_changed_digit_is_found(experiment):
    path = experiment.results / "table3.csv"
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    row = int(np.flatnonzero(table["ours"])[5])
    true = table.loc[row, "ours"]
    table.loc[row, "ours"] = f"{float(true) + 0.01:.2f}"
    table.to_csv(path, index=False)
    (found,) = differences(experiment, TABLE3)
    assert found == f"row {row + 1}, ours: stored {table.loc[row, 'ours']}, recomputed {true}"
    with pytest.raises(UserError) as error:
        list(verify(experiment, ["table3"]))
    assert str(error.value).splitlines() == [
        f"{path}: changed since it was recorded; {TABULATE}",
        f"{path}: {found}; {TABULATE}",
    ]


def test_the_remedy_for_a_changed_table_mends_it(experiment, run_verify, phantom):
    path = experiment.results / "table3.csv"
    path.write_text(path.read_text().replace(",", ";"))
    assert run_verify("table3") == 1
    assert cli.main(["tables", "--data", str(phantom), "--profile", "smoke"]) == 0
    assert run_verify("table3") == 0


def test_a_changed_score_shows_in_every_table_computed_from_it(experiment):
    path = experiment.results / "scores.csv"
    scores = pd.read_csv(path)
    hit = scores.query("aggregation == 'volume' and metric == 'DSC'").index[0]
    scores.loc[hit, "value"] += 0.5
    scores.to_csv(path, index=False)
    with pytest.raises(UserError) as error:
        list(verify(experiment, ["table3", "comparison"]))
    named = [Path(line.partition(":")[0]).name for line in str(error.value).splitlines()]
    assert named == ["scores.csv", "summary.csv", "table3.csv"]
    assert all(line.endswith(RESTORE) for line in str(error.value).splitlines())


def test_tables_of_runs_that_are_gone_are_removed(experiment):
    lost = experiment.results / "table4.csv"
    lost.write_text("old")
    (experiment.results / "cost.csv").unlink(missing_ok=True)
    assert lost.name not in {table.name for table in write_tables(experiment)}
    assert not lost.exists()


def test_tables_bring_the_tables_they_are_computed_from(experiment):
    assert with_sources([TABLE3], experiment) == [SUMMARY, TABLE3]
    assert with_sources([AUDIT], experiment) == [AUDIT]
    with pytest.raises(UserError, match=r"table9\.csv: no such table; choose from summary\.csv"):
        derived_table("table9.csv")


def test_optional_sources_are_brought_only_if_they_are_stored(experiment):
    assert with_sources([VERDICTS], experiment) == [VERDICTS]
    validation = {"device": "any", "model": "aspp_unet", "learning_rate": 0.004, "epochs": [3, 6]}
    table = pd.DataFrame({**validation, "seed": 0, "case": "a", "DSC": [80.0, 80.5]})
    write_csv(
        experiment.results / "validation.csv", experiment.stamp(table.drop(columns="device"), "any")
    )
    write_tables(experiment)
    assert with_sources([VERDICTS], experiment) == [SEARCH, CONVERGENCE, VERDICTS]
    assert pd.read_csv(experiment.results / "convergence.csv")["trained_out"].tolist() == [True]


def test_a_table_that_these_results_do_not_give_is_told(experiment, run_verify, capsys):
    assert run_verify("table2") == 1
    assert re.search(
        r"table2\.csv: does not follow from .*; choose from .*summary\.csv", capsys.readouterr().err
    )


def test_missing_files_are_named(experiment, run_verify, capsys):
    (experiment.results / "table4.csv").write_text("model\n")
    assert run_verify("table4") == 1
    assert "lacks cost.csv, from which table4.csv is computed" in capsys.readouterr().err
    (experiment.results / PROVENANCE).unlink()
    assert run_verify("table3") == 1
    assert "lacks provenance.json" in capsys.readouterr().err


def test_without_results_the_remedy_makes_them(experiment, run_verify, capsys):
    shutil.rmtree(experiment.results)
    assert run_verify("table3") == 1
    assert "no results yet; run `make reproduce`" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["[]", "{}", '{"origins": {}, "files": {"a": {}}}'])
def test_a_damaged_record_of_origins_is_named(experiment, run_verify, capsys, text):
    (experiment.results / PROVENANCE).write_text(text)
    assert run_verify("table3") == 1
    assert f"{PROVENANCE}: damaged: not the origins of files" in capsys.readouterr().err


def test_tables_that_cannot_be_computed_are_named_and_the_others_checked(experiment):
    scores = experiment.results / "scores.csv"
    scores.write_text(scores.read_text().splitlines()[0] + "\n")
    (experiment.results / "audit.csv").unlink()
    lines, matches = verify(experiment), []
    with pytest.raises(UserError) as error:
        matches.extend(lines)
    assert "summary.csv: cannot be computed from scores.csv" in str(error.value)
    assert "audit.csv: does not exist any more" in str(error.value)
    assert any(line.startswith("audit_convexity.csv: matches") for line in matches)


def test_unchanged_files_keep_their_origin(tmp_path):
    for name, text in (("a.csv", "device,x\ncpu,1\n"), ("b.json", "{}"), ("c.csv", "x\n1\n")):
        (tmp_path / name).write_text(text)
    record(tmp_path, ORIGIN, "runs")
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "c.csv").unlink()
    assert changed_files(tmp_path) == {
        "b.json": "changed since it was recorded",
        "c.csv": "does not exist any more",
    }
    record(tmp_path, ORIGIN | {"commit": "def"}, "other runs")
    content = json.loads((tmp_path / PROVENANCE).read_text())
    assert {name: (e["origin"], e["device"]) for name, e in content["files"].items()} == {
        "a.csv": ("abc", "cpu"),
        "b.json": ("def", "other runs"),
    }
    assert content["origins"] == {"abc": ORIGIN, "def": ORIGIN | {"commit": "def"}}


def test_two_origins_of_one_commit_stay_apart(tmp_path):
    (tmp_path / "a.csv").write_text("x\n1\n")
    record(tmp_path, ORIGIN, "cpu")
    (tmp_path / "b.csv").write_text("x\n1\n")
    record(tmp_path, ORIGIN | {"seed": 1}, "cpu")
    content = read_json(tmp_path / PROVENANCE)
    origins = {name: content["origins"][e["origin"]] for name, e in content["files"].items()}
    assert {name: origin["seed"] for name, origin in origins.items()} == {"a.csv": 0, "b.csv": 1}


def test_commit_tells_of_uncommitted_code(tmp_path, monkeypatch):
    monkeypatch.setattr(versions.paths, "REPOSITORY", tmp_path)
    assert versions.commit() == "unknown"
    (tmp_path / "lib").mkdir()
    (tmp_path / "profiles").mkdir()
    (tmp_path / "lib" / "a.py").write_text("a = 1\n")
    versions._git("init", "-q")
    versions._git("add", "-A")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    versions._git(*who, "commit", "-qm", "first")
    clean = versions.commit()
    assert len(clean) == 12
    (tmp_path / "results.csv").write_text("1\n")
    assert versions.commit() == clean
    (tmp_path / "lib" / "a.py").write_text("a = 2\n")
    assert versions.commit() == f"{clean}+changes"


def test_an_experiment_of_which_files_are_missing_is_verified_too(workspace, monkeypatch):
    experiments = [Experiment.of(None, "smoke"), Experiment.of("simulated-8", "smoke")]
    monkeypatch.setattr(study_results, "experiments", lambda: experiments)
    assert study_results.stored_beside(experiments[0]) == []
    experiments[1].results.mkdir(parents=True)
    assert study_results.stored_beside(experiments[0]) == experiments[1:]


def test_all_experiments_of_the_study_are_verified_together(
    experiment, phantom, monkeypatch, capsys
):
    monkeypatch.setattr(study_results, "stored_beside", lambda each: [each])
    arguments = ["verify", "--data", str(phantom), "--profile", "smoke"]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert any(f"{experiment.name}/table3.csv: matches to the last digit" in line for line in lines)
    (experiment.results / "scores.csv").unlink()
    assert cli.main(arguments) == 1
    assert len(capsys.readouterr().err.splitlines()) == 2
