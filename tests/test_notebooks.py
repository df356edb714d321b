"""What nbval cannot see: cells that never ran, parameters, noise, and rules that match nothing."""

import re
from pathlib import Path

import nbformat
import papermill
import pytest

from spineseg.utils.paths import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def test_lessons_are_numbered():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers == [*(f"{number:02d}" for number in range(12)), "A1", "A2"]


def test_every_cell_ran_in_order_without_error(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_parameters_are_the_default_experiment(path):
    parameters = papermill.inspect_notebook(path)
    assert {name: p["default"] for name, p in parameters.items()} == {
        "data": '""',
        "profile": '"laptop"',
        "save": "False",
    }


def test_nothing_of_one_machine_is_committed(notebook):
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output.get("text") or output.get("data", {}) for output in outputs]
    for data in shown:
        if isinstance(data, dict):
            data.pop("image/png", None)
    text = "\n".join([*map(str, shown), *(cell.source for cell in notebook.cells)])
    assert "widgets" not in notebook.metadata
    assert "papermill" not in notebook.metadata
    assert notebook.metadata.kernelspec.name == "python3"
    assert str(Path.home()) not in text
    assert str(REPOSITORY) not in text
    assert not re.search(r"\d(it|case|batch|cell)/s", text)


def test_sections_a_reader_expects(notebook):
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for heading in ("**The question.**", "**Predict before you run.**", "## What it says"):
        assert heading in prose
    assert "## Exercises" in prose


def test_no_profile_that_is_gone_is_named(notebook):
    text = "\n".join(cell.source for cell in notebook.cells)
    assert not re.search(r"\bquick\b|phantom-quick", text)


def test_what_was_measured_on_one_machine_is_not_compared():
    """`make bench` replaces the tables of notebook A2. The data behind its figures are tested."""
    speed = next(path for path in NOTEBOOKS if path.stem == "A2_speed")
    cells = nbformat.read(speed, as_version=4).cells
    compared = [
        cell.source
        for cell in cells
        if cell.get("outputs") and "nbval-ignore-output" not in cell.metadata.get("tags", [])
    ]
    assert compared == []
