"""The graph from nothing: are results, figures and notebooks made, and are the numbers the same?

By default on the mini phantom and the smoke profile; `--study quick` (make test-quick) regenerates
what README and notebooks show.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from spineseg.paths import REPOSITORY

COMMITTED = {"smoke": "phantom-mini-smoke", "quick": "phantom-quick"}
TOLERANCES = yaml.safe_load((REPOSITORY / "tests" / "tolerances.yaml").read_text())


def run_graph(root: Path, **config: object) -> str:
    """Run the Snakefile with everything it makes under `root`; returns what it said."""
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(REPOSITORY / "Snakefile")]
    command += ["--directory", str(root), "--cores", str(os.cpu_count()), "--config"]
    command += [f"{key}={value}" for key, value in config.items()]
    environment = {**os.environ, "SPINESEG_ROOT": str(root)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def study(request) -> str:
    return request.config.getoption("--study")


@pytest.fixture(scope="module")
def config(study, phantom) -> dict[str, object]:
    return {"profile": study, **({"data": phantom} if study == "smoke" else {})}


@pytest.fixture(scope="module")
def reproduced(config, tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("reproduced")
    run_graph(root, **config)
    return root


def differences(new: pd.DataFrame, old: pd.DataFrame, tolerances: dict) -> list[str]:
    """One line for each column that differs by more than its tolerance; `any` lets all pass."""
    if list(new) != list(old) or len(new) != len(old):
        return [f"columns or rows: {list(new)} x {len(new)} against {list(old)} x {len(old)}"]
    found = []
    for column in old:
        allowed = tolerances.get(column, 0)
        if allowed == "any":
            continue
        if column not in tolerances or not pd.api.types.is_numeric_dtype(old[column]):
            same = np.array_equal(
                new[column].fillna("-").astype(str), old[column].fillna("-").astype(str)
            )
            if not same:
                found.append(f"{column} differs")
        elif not np.allclose(new[column], old[column], rtol=0, atol=allowed, equal_nan=True):
            off = (new[column] - old[column]).abs().max()
            found.append(f"{column} is off by {off:.3g}, allowed {allowed}")
    return found


@pytest.mark.parametrize("table", TOLERANCES)
def test_numbers_are_the_committed_ones(table, study, reproduced):
    folder = COMMITTED[study]
    new = pd.read_csv(reproduced / "results" / folder / table)
    old = pd.read_csv(REPOSITORY / "results" / folder / table)
    assert differences(new, old, TOLERANCES[table]) == []


def test_each_committed_table_has_tolerances():
    for folder in COMMITTED.values():
        tables = {path.name for path in (REPOSITORY / "results" / folder).glob("*.csv")}
        assert tables == set(TOLERANCES)


def test_the_comparison_can_fail():
    old = pd.DataFrame({"class": ["S", "L5"], "value": [0.5, np.nan], "n": [1, 2]})
    assert differences(old.copy(), old, {"value": 0.1}) == []
    assert differences(old.assign(value=[0.59, np.nan]), old, {"value": 0.1}) == []
    assert differences(old.assign(value=[0.61, np.nan]), old, {"value": 0.1})
    assert differences(old.assign(value=[0.5, 0.5]), old, {"value": 0.1})
    assert differences(old.assign(n=[1, 3]), old, {"value": 0.1}) == ["n differs"]
    assert differences(old.assign(**{"class": ["S", "L4"]}), old, {}) == ["class differs"]
    assert differences(old.iloc[:1], old, {})


def test_every_file_named_in_the_readme_is_there_and_is_regenerated(study, reproduced):
    readme = (REPOSITORY / "README.md").read_text()
    named = set(re.findall(r"(?:results|figures)/phantom-quick/[\w.-]+", readme))
    assert len(named) > 10
    for name in named:
        assert (REPOSITORY / name).is_file(), name
        assert (reproduced / name.replace("phantom-quick", COMMITTED[study])).is_file(), name


def test_nothing_finished_is_done_again(config, reproduced):
    assert "Nothing to be done" in run_graph(reproduced, **config)


def test_notebooks_ran_with_the_parameters_given(config, reproduced, study):
    import nbformat

    folder = reproduced / "runs" / COMMITTED[study] / "notebooks"
    names = sorted(path.name for path in folder.glob("*.ipynb"))
    assert names == sorted(path.name for path in (REPOSITORY / "notebooks").glob("*.ipynb"))
    for name in names:
        cells = nbformat.read(folder / name, as_version=4).cells
        injected = [c for c in cells if "injected-parameters" in c.metadata.get("tags", [])]
        assert f'profile = "{study}"' in injected[0].source


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
    if subprocess.run(changed).returncode:
        pytest.skip("results were regenerated here; tools/update_readme.py takes them over")
    script = REPOSITORY / "tools" / "update_readme.py"
    assert subprocess.run([sys.executable, str(script), "--check"]).returncode == 0
