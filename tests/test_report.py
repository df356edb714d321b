"""The page of a finished experiment: all notebooks in order, and nothing that lies outside it."""

import shutil

import nbformat
import pandas as pd
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from spineseg.evaluation.provenance import changed_files
from spineseg.experiment import Experiment
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json
from spineseg.workflow.report import report

# One gray pixel.
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5E"
    "rkJggg=="
)


def executed(title: str, seconds: float | None) -> nbformat.NotebookNode:
    output = new_output("display_data", {"image/png": PIXEL, "text/plain": "a figure"})
    cells = [new_markdown_cell(f"# {title}"), new_code_cell("draw()", outputs=[output])]
    return new_notebook(cells=cells, metadata={"papermill": {"duration": seconds}})


@pytest.fixture
def experiment(trained, phantom, workspace):
    shutil.copytree(trained, workspace, dirs_exist_ok=True)
    experiment = Experiment.of(phantom, "smoke")
    folder = experiment.runs / "notebooks"
    folder.mkdir()
    nbformat.write(executed("2 · The second", 2.04), folder / "02_preprocessing.ipynb")
    nbformat.write(executed("1 · The first", 1.0), folder / "01_data_exploration.ipynb")
    nbformat.write(executed("3 · Still running", None), folder / "03_network.ipynb")
    nbformat.write(executed("4 · Renamed since", 3.0), folder / "04_old_name.ipynb")
    return experiment


def test_the_page_holds_every_notebook_in_order(experiment):
    summary = report(experiment)
    page = (experiment.runs / "report.html").read_text()
    assert page.count(PIXEL) == 3
    places = [page.index(words) for words in ("#chapter-1", "#chapter-2", 'id="chapter-1"')]
    places += [page.rindex(words) for words in ("The first", "The second", "Still running")]
    assert places == sorted(places)
    assert f"{experiment.name}: means over seeds (1), test cases (2) and classes" in summary
    assert str(experiment.runs / "report.html") in summary


def test_a_heading_without_a_number_is_a_chapter_too(experiment):
    folder = experiment.runs / "notebooks"
    nbformat.write(executed("A course", 1.0), folder / "00_start.ipynb")
    report(experiment)
    page = (experiment.runs / "report.html").read_text()
    assert '<a href="#chapter-1">A course</a>' in page


def test_times_and_origins_are_written(experiment):
    report(experiment)
    times = pd.read_csv(experiment.results / "times.csv").set_index("step")["seconds"]
    assert times["01_data_exploration"] == 1.0
    assert times["02_preprocessing"] == 2.0
    assert not {"03_network", "04_old_name"} & set(times.index)
    assert times["train aspp_unet fold 0 seed 0"] > 0
    assert changed_files(experiment.results) == {}
    recorded = read_json(experiment.results / "provenance.json")
    (origin,) = recorded["origins"].values()
    (run,) = read_json(experiment.results / "runs.json")
    assert origin["data_hash"] == run["data_hash"]
    assert origin["split_hash"] == run["split_hash"]
    assert {entry["device"] for entry in recorded["files"].values()} <= {run["device"], "any"}


def test_files_that_are_not_ours_are_recorded_or_left_alone(experiment):
    (experiment.results / "notes").mkdir()
    (experiment.results / "empty.csv").touch()
    report(experiment)
    files = read_json(experiment.results / "provenance.json")["files"]
    assert "empty.csv" in files
    assert "notes" not in files


def test_incomplete_results_make_no_page(experiment):
    scores = experiment.results / "scores.csv"
    table = pd.read_csv(scores)
    table[table["case"] != table["case"][0]].to_csv(scores, index=False)
    with pytest.raises(UserError, match="lacks"):
        report(experiment)
    assert not (experiment.runs / "report.html").exists()
