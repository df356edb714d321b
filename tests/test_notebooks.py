"""What nbval cannot see: cells that never ran, parameters, noise, and rules that match nothing."""

import ast
import re
from contextlib import nullcontext
from pathlib import Path

import nbformat
import papermill
import pytest
from tools.adopt_notebook import adopt, joined

from spineseg.utils.paths import REPOSITORY
from spineseg.workflow import notebooks as steps

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
START, *EXPERIMENTS = NOTEBOOKS  # the start page reads no experiment
# Other results may lack these arrays, those of the graph do not.
DRAWN_FROM_GATHERED_ARRAYS = {"examples", "fig5", "fig6", "fig7"}


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request) -> nbformat.NotebookNode:
    return nbformat.read(request.param, as_version=4)


def test_notebooks_are_numbered():
    numbers = [path.name[:2] for path in NOTEBOOKS]
    assert numbers == [*(f"{number:02d}" for number in range(12)), "A1", "A2"]


def test_every_cell_ran_in_order_without_error(notebook):
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_figures_are_drawn_whatever_was_run(path):
    """The graph expects each of them, so no condition may leave one out."""
    cells = nbformat.read(path, as_version=4).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    calls = [line.value for line in ast.parse(code).body if isinstance(line, ast.Expr)]
    drawn = {
        call.args[1].value
        for call in calls
        if ast.unparse(call).startswith("lesson.show(")
        and len(call.args) > 1
        and isinstance(call.args[1], ast.Constant)
    }
    expected = steps.NOTEBOOKS[path.stem].figures
    assert set(expected) - drawn <= DRAWN_FROM_GATHERED_ARRAYS


def test_a_line_that_a_kernel_sent_in_two_is_one_output():
    sent = [nbformat.v4.new_output("stream", name="stdout", text=text) for text in ("right", "\n")]
    other = nbformat.v4.new_output("display_data", data={"text/plain": "table"})
    kept = joined([*sent, other, *sent])
    assert [each.get("text") for each in kept] == ["right\n", None, "right\n"]


@pytest.mark.parametrize(
    ("count", "cells", "said"), [(None, 1, "was not run"), (1, 2, "has other cells"), (1, 1, "")]
)
def test_a_notebook_that_was_not_run_whole_is_not_adopted(tmp_path, count, cells, said):
    v4 = nbformat.v4
    cell = v4.new_code_cell("1", id="a")
    ran = [v4.new_code_cell("1", id=each, execution_count=count) for each in "ab"[:cells]]
    nbformat.write(v4.new_notebook(cells=[cell]), tmp_path / "old.ipynb")
    nbformat.write(v4.new_notebook(cells=ran), tmp_path / "new.ipynb")
    with pytest.raises(SystemExit, match=said) if said else nullcontext():
        adopt(tmp_path / "new.ipynb", tmp_path / "old.ipynb")


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
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


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_sections_a_reader_expects(path):
    """test_course.py knows what else a lesson has."""
    cells = nbformat.read(path, as_version=4).cells
    prose = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    for words in ("**You need**", "**Time", "**Afterwards you can**", "**The question.**"):
        assert words in prose
    assert "## What it says" in prose
    assert ("## Exercises" in prose) == path.name[0].isdigit()


def test_the_start_page_has_what_lessons_link_to():
    text = "\n".join(cell.source for cell in nbformat.read(START, as_version=4).cells)
    for words in ("check_set_up()", "course_plan()", "make course", "## Glossary"):
        assert words in text


def test_a_glossary_is_in_order_and_explains_each_term_once():
    text = "\n".join(cell.source for cell in nbformat.read(START, as_version=4).cells)
    terms = re.findall(r"^\| \*\*(.+?)\*\* \|", text, re.MULTILINE)
    assert len(terms) > 50
    assert len(set(terms)) == len(terms)
    assert terms == sorted(terms, key=str.casefold)


def test_pictures_have_a_text_for_those_who_cannot_see_them(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                assert output.metadata["image/png"]["alt"].strip()
                assert "TODO" not in output.metadata["image/png"]["alt"]
        if cell.cell_type == "markdown":
            assert "![](" not in cell.source
        assert 'alt="TODO"' not in cell.source


def test_no_code_needs_the_folder_it_runs_in(notebook):
    """Students' copies run in course/student."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    assert not re.search(r"""["']\.\.?/""", code)


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
