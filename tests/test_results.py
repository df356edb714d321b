"""The graph from nothing: are results, figures and notebooks made, and are the numbers the same?

On the mini phantom and the smoke profile.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from spineseg.evaluation.provenance import changed_files
from spineseg.evaluation.summary import summarise
from spineseg.methods import (
    ABLATION_METHODS,
    METHODS,
    NNUNET,
    NOISE_METHODS,
    nnunet_is_installed,
)
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow.notebooks import NOTEBOOKS

STORED = REPOSITORY / "results"
COMMITTED = "phantom-mini-smoke"
SHOWN = "phantom-laptop"  # what README and notebooks show
# Without nnU-Net, which is not installed everywhere.
MODELS = [name for name in dict.fromkeys([*NOISE_METHODS, *ABLATION_METHODS]) if name != NNUNET]
FEW = ["unet", "aspp_unet"]
LESSONS_OF_FEW = ["06_baselines", "11_verdicts"]  # nbval runs all lessons, on stored scores
OTHER_VERDICTS = "over (?:segnet|deeplabv3|unet3d)|position 4|four modules|noise: training"
OTHER_LESSONS = [lesson for name, lesson in NOTEBOOKS.items() if name not in LESSONS_OF_FEW]
NOT_OF_FEW = {"table2.csv", *(table for lesson in OTHER_LESSONS for table in lesson.writes)}
TOLERANCES = yaml.safe_load((REPOSITORY / "tests" / "tolerances.yaml").read_text())


def run_graph(root: Path, targets: Sequence[str] = (), **config: object) -> str:
    """Run the Snakefile with everything it makes under `root`; returns what it said.

    `targets` are files below `root`; if there are none, everything is made.
    """
    command = [sys.executable, "-m", "snakemake", *(str(root / target) for target in targets)]
    command += ["--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--directory", str(root), "--cores", str(os.cpu_count()), "--config"]
    command += [f"{key}={value}" for key, value in config.items()]
    environment = {**os.environ, "SPINESEG_ROOT": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def everything(request) -> bool:
    return request.config.getoption("--graph")


@pytest.fixture
def long(everything) -> None:
    if not everything:
        pytest.skip("long: `make test-graph`")


@pytest.fixture(scope="module")
def models(everything) -> list[str]:
    return MODELS if everything else FEW


@pytest.fixture(scope="module")
def targets(everything) -> list[str]:
    folder = f"runs/{COMMITTED}/notebooks"
    return [] if everything else [f"{folder}/{name}.ipynb" for name in LESSONS_OF_FEW]


@pytest.fixture(scope="module")
def config(phantom, models) -> dict[str, object]:
    return {"profile": "smoke", "data": phantom, "models": " ".join(models)}


@pytest.fixture(scope="module")
def reproduced(config, targets, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("reproduced")
    for scores in STORED.glob("*/scores.csv"):  # as make.py does
        if scores.parent.name != COMMITTED:
            shutil.copytree(scores.parent, root / "results" / scores.parent.name)
    run_graph(root, targets, **config)
    return root


def read_rows(path: Path, models: list[str]) -> pd.DataFrame:
    """The rows of a table, without those that need methods that are not in `models`.

    If nnU-Net is installed, its rows are left out: the stored ones lack its numbers.
    """
    table = pd.read_csv(path, dtype={"note": str})  # also if no row has one
    if "key" in table and models == FEW:
        return table[~table["key"].str.contains(OTHER_VERDICTS)]
    if "model" not in table:
        return table
    others = {*MODELS}.difference(models) | ({NNUNET} if nnunet_is_installed() else set())
    return table[~table["model"].isin([*others, *(METHODS[name].title for name in others)])]


def differences(new: pd.DataFrame, old: pd.DataFrame, tolerances: dict) -> list[str]:
    """One line for each column that differs by more than its tolerance (see tolerances.yaml)."""
    if list(new) != list(old):
        return [f"columns: {list(new)} against {list(old)}"]
    keys = [column for column in old if column not in tolerances]
    both = new.merge(old, how="outer", on=keys, suffixes=("_new", "_old"), indicator="side")
    lone = both[both["side"] != "both"]
    found = []
    if len(lone) > tolerances.get("lone_rows", 0) * len(old):
        found.append(f"{len(lone)} rows on one side only, such as {lone[keys].iloc[0].to_dict()}")
    both = both[both["side"] == "both"]
    for column, allowed in tolerances.items():
        if column == "lone_rows" or allowed == "any":
            continue
        if isinstance(allowed, dict):  # by metric; those not named may be anything
            both = both[both["metric"].isin(allowed)]
            allowed = both["metric"].map(allowed)
        off = (both[f"{column}_new"] - both[f"{column}_old"]).abs()
        one_sided = both[f"{column}_new"].isna() != both[f"{column}_old"].isna()
        if one_sided.any() or (off > allowed).any():
            found.append(f"{column} is off by {off.max():.3g}, missing {one_sided.sum()} times")
    return found


@pytest.mark.parametrize("table", TOLERANCES)
def test_numbers_are_the_committed_ones(table, models, everything, reproduced):
    if not everything and table in NOT_OF_FEW:
        pytest.skip("long: `make test-graph`")
    new = read_rows(reproduced / "results" / COMMITTED / table, models)
    old = read_rows(STORED / COMMITTED / table, models)
    assert differences(new, old, TOLERANCES[table]) == []


def test_each_committed_table_has_tolerances():
    tables = {path.name for path in (STORED / COMMITTED).glob("*.csv")}
    assert tables - {"times.csv"} == set(TOLERANCES)


def test_the_comparison_can_fail():
    old = pd.DataFrame({"class": ["S", "L5"], "value": [0.5, np.nan], "n": [1, 2]})
    allowed = {"value": 0.1}
    assert differences(old.copy(), old, allowed) == []
    assert differences(old.assign(value=[0.59, np.nan]), old, allowed) == []
    assert differences(old.assign(value=[0.61, np.nan]), old, allowed)
    assert differences(old.assign(value=[0.5, 0.5]), old, allowed)
    assert differences(old.assign(value=[9, 9]), old, {"value": "any"}) == []
    assert differences(old.assign(n=[1, 3]), old, allowed)
    assert differences(old.assign(**{"class": ["S", "L4"]}), old, {})
    assert differences(old.iloc[:1], old, allowed)
    assert differences(old.iloc[:1], old, {"value": 0.1, "lone_rows": 0.5}) == []
    assert differences(old.drop(columns="n"), old, allowed)
    metrics = pd.DataFrame({"metric": ["DSC", "HD95"], "value": [0.5, 10]})
    by_metric = {"value": {"DSC": 0.1}}
    assert differences(metrics.assign(value=[0.5, 99]), metrics, by_metric) == []
    assert differences(metrics.assign(value=[0.7, 10]), metrics, by_metric)


def test_every_file_named_in_the_readme_is_there_and_is_regenerated(long, reproduced):
    readme = (REPOSITORY / "README.md").read_text()
    named = set(re.findall(rf"(?:results|figures)/{SHOWN}/[\w.-]+", readme))
    assert len(named) > 10
    of_the_study = {"times.csv", "search.csv", "convergence.csv", "ceiling.csv"}
    for name in named:
        assert (REPOSITORY / name).is_file(), name
    for name in named - {f"results/{SHOWN}/{table}" for table in of_the_study}:
        assert (reproduced / name.replace(SHOWN, COMMITTED)).is_file(), name


def test_nothing_finished_is_done_again(config, targets, reproduced):
    assert "Nothing to be done" in run_graph(reproduced, targets, **config)


def test_notebooks_ran_with_the_parameters_given(everything, reproduced):
    import nbformat

    ran = sorted((reproduced / "runs" / COMMITTED / "notebooks").glob("*.ipynb"))
    every = sorted(path.stem for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
    assert [path.stem for path in ran] == (every if everything else LESSONS_OF_FEW)
    for path in ran:
        cells = nbformat.read(path, as_version=4).cells
        injected = [c for c in cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert 'profile = "smoke"' in injected[0].source


def test_lessons_run_on_methods_without_the_proposed_one(long, config, reproduced, tmp_path):
    for name in ("runs", "cache"):
        (tmp_path / name).symlink_to(reproduced / name)
    shutil.copytree(STORED / SHOWN, tmp_path / "results" / SHOWN)
    runs = (reproduced / "runs" / COMMITTED).glob("unet-fold-*")
    folds = sorted({path.name.split("-")[2] for path in runs})
    where = ["--data", str(config["data"]), "--profile", "smoke"]
    environment = {**os.environ, "SPINESEG_ROOT": str(tmp_path)}
    parameters = ["-p", "data", where[1], "-p", "profile", "smoke"]
    notebooks = [REPOSITORY / "notebooks" / f"{name}.ipynb" for name in LESSONS_OF_FEW]
    for command in (
        ["spineseg", "gather", *where, "--models", "unet", "unet3d", "--folds", *folds],
        ["spineseg", "tables", *where],
        *(["papermill", str(path), str(tmp_path / path.name), *parameters] for path in notebooks),
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-3000:]


def test_a_bad_folder_is_refused_before_anything_is_made(tmp_path, phantom):
    bad = tmp_path / "bad"
    shutil.copytree(phantom, bad)
    for name in ("MR/Case1.nii.gz", "Mask/mask_case2.nii.gz"):
        (bad / "train" / name).write_bytes(b"x")
    with pytest.raises(AssertionError) as error:
        run_graph(tmp_path / "root", profile="smoke", data=bad)
    assert "MR/Case1.nii.gz: " in str(error.value)
    assert "Mask/mask_case2.nii.gz: " in str(error.value)
    assert not (tmp_path / "root" / "cache").exists()


def test_scores_in_the_readme_are_those_in_results():
    changed = ["git", "-C", str(REPOSITORY), "diff", "--quiet", "HEAD", "--", "results"]
    if shutil.which("git") is None or subprocess.run(changed).returncode:
        pytest.skip("results were regenerated here, or git cannot tell")
    command = [sys.executable, "-m", "tools.readme", "--check"]
    assert subprocess.run(command, cwd=REPOSITORY).returncode == 0


@pytest.mark.parametrize("name", [f"{name}-cleaned-up" for name in (SHOWN, "simulated-laptop")])
def test_means_with_repaired_levels_follow_from_the_stored_scores(name):
    scores = pd.read_csv(STORED / name / "scores.csv", dtype={"fold": str})
    stored = pd.read_csv(STORED / name / "summary.csv")
    again = summarise(scores).astype({"aggregation": str, "metric": str, "class": str})
    pd.testing.assert_frame_equal(again, stored, rtol=1e-5)  # six digits are stored
    assert changed_files(STORED / name) == {}
