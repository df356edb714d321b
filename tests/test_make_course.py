"""`make course`: three sets of notebooks from one source, and a line for each thing amiss."""

import importlib.util
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from spineseg.utils.errors import UserError
from spineseg.utils.paths import REPOSITORY

_spec = importlib.util.spec_from_file_location(
    "make_course", REPOSITORY / "tools" / "make_course.py"
)
assert _spec is not None
assert _spec.loader is not None
make_course = importlib.util.module_from_spec(_spec)
sys.modules["make_course"] = make_course
_spec.loader.exec_module(make_course)

TEXT = "### Exercise 3.1 · Count (5 minutes)\n\nHow many?"
SOLUTION = """answer_3_1 = None  # a number
### BEGIN SOLUTION
parts = 2 + 1
answer_3_1 = parts
### END SOLUTION
print(answer_3_1)"""
CHECK = 'check("3.1", answer_3_1)'


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setattr(make_course, "exercises", lambda: {"3.1": None, "3.2": None})


@pytest.fixture
def source(tmp_path) -> Path:
    """A repository with one figure and two notebooks, the second with an exercise."""
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "line.png").touch()
    folder = tmp_path / "notebooks"
    folder.mkdir()
    start = new_notebook(cells=[new_markdown_cell("# Start\n\n[lesson](03_network.ipynb#Text)")])
    nbformat.write(start, folder / "00_start.ipynb")
    write(folder, lesson_cells())
    return folder


def lesson_cells() -> list[NotebookNode]:
    output = new_output("stream", name="stdout", text="Exercise 3.1: right.\n")
    return [
        new_markdown_cell(
            '# 3 · Network\n\n![line](../figures/line.png) <img src="../figures/line.png">\n'
            "[start](00_start.ipynb), [below](#Text), [paper](https://doi.org/10.3934/x)"
        ),
        new_markdown_cell("*Your prediction:* ", metadata={"tags": ["prediction"]}),
        new_markdown_cell(TEXT, metadata={"tags": ["exercise"]}),
        new_code_cell(SOLUTION, metadata={"tags": ["solution"]}, execution_count=1),
        new_code_cell(CHECK, metadata={"tags": ["check"]}, outputs=[output], execution_count=2),
    ]


def write(folder: Path, cells: list[NotebookNode]) -> None:
    nbformat.write(new_notebook(cells=cells), folder / "03_network.ipynb")


def made(source: Path, kind: str) -> NotebookNode:
    make_course.make(source, source.parent / "course")
    return nbformat.read(source.parent / "course" / kind / "03_network.ipynb", as_version=4)


def test_students_get_what_is_outside_the_markers_and_no_outputs(source):
    cells = made(source, "student").cells
    assert cells[1].source == "*Your prediction:* "
    assert cells[2].source == TEXT
    assert cells[3].source == "answer_3_1 = None  # a number\nprint(answer_3_1)"
    assert cells[4].source == CHECK
    assert [(cell.execution_count, cell.outputs) for cell in cells[3:]] == [(None, [])] * 2


def test_solutions_have_outputs_and_no_markers(source):
    cells = made(source, "solutions").cells
    assert "SOLUTION" not in cells[3].source
    assert "answer_3_1 = parts\nprint(answer_3_1)" in cells[3].source
    assert cells[4].outputs[0].text == "Exercise 3.1: right.\n"


def test_nbgrader_gets_the_markers_which_it_takes_out_itself(source):
    cells = made(source, "nbgrader/source/03_network").cells
    assert cells[3].source == SOLUTION
    assert cells[4].outputs == []
    assert (source.parent / "course" / "nbgrader" / "nbgrader_config.py").is_file()


@pytest.mark.parametrize("kind", ["student", "solutions", "nbgrader/source/03_network"])
def test_cells_carry_what_nbgrader_reads(kind, source):
    cells = made(source, kind).cells
    assert [cell.metadata.get("nbgrader") for cell in cells[:2]] == [None, None]
    common = {"schema_version": 3, "task": False}
    assert [dict(cell.metadata.nbgrader) for cell in cells[2:]] == [
        {"grade_id": "exercise-3-1", "cell_type": "markdown", **common}
        | {"grade": False, "locked": True, "solution": False},
        {"grade_id": "solution-3-1", "cell_type": "code", **common}
        | {"grade": False, "locked": False, "solution": True},
        {"grade_id": "check-3-1", "cell_type": "code", **common}
        | {"grade": True, "locked": True, "solution": False, "points": 1},
    ]


@pytest.mark.parametrize("kind", ["student", "solutions", "nbgrader/source/03_network"])
def test_links_lead_somewhere_from_where_the_notebook_is_now(kind, source):
    folder = source.parent / "course" / kind
    cells = made(source, kind).cells
    links = [target for _, target in make_course.LINK.findall(cells[0].source)]
    assert len(links) == 3
    assert all((folder / link).is_file() for link in links)
    assert "(#Text)" in cells[0].source
    assert "https://doi.org/10.3934/x" in cells[0].source
    if not kind.startswith("nbgrader"):
        assert links[-1] == "00_start.ipynb"


def test_a_notebook_that_somebody_changed_is_kept(source):
    course = source.parent / "course"
    make_course.make(source, course)
    changed = course / "student" / "03_network.ipynb"
    changed.write_text(changed.read_text().replace("= None", "= 3"))
    write(source, [*lesson_cells(), new_markdown_cell("More.")])
    *_, line = make_course.make(source, course)
    assert line == f"{changed}: kept, because it was changed"
    assert "= 3" in changed.read_text()
    assert "More." in (course / "solutions" / "03_network.ipynb").read_text()
    changed.unlink()
    assert len(make_course.make(source, course)) == 3
    assert "More." in changed.read_text()


def test_the_lines_say_what_was_written_where(source):
    course = source.parent / "course"
    assert make_course.make(source, course) == [
        f"{course / 'student'}: 2 notebooks with 1 exercises to solve",
        f"{course / 'solutions'}: the same with solutions and outputs",
        f"{course / 'nbgrader'}: the source of 1 graded exercises for nbgrader",
    ]


def without(index: int):
    return lambda cells: cells.pop(index)


def change(index: int, old: str, new: str):
    def edit(cells: list[NotebookNode]) -> None:
        assert old in cells[index].source
        cells[index].source = cells[index].source.replace(old, new)

    return edit


def retag(index: int, *tags: str):
    return lambda cells: cells[index].metadata.update(tags=list(tags))


@pytest.mark.parametrize(
    ("edit", "cell", "words"),
    [
        (change(3, "### BEGIN SOLUTION\n", ""), 3, "solution without its markers"),
        (change(3, "### END SOLUTION\n", ""), 3, "solution without its markers"),
        (change(3, "### BEGIN SOLUTION", "x ### BEGIN SOLUTION"), 3, "without its markers"),
        (retag(3), 3, "holds a solution without the tag"),
        (without(2), 2, "solution where the exercise is due"),
        (without(3), 3, "check where the solution of exercise 3.1 is due"),
        (without(4), None, "exercise 3.1 has no check"),
        (change(2, " (5 minutes)", ""), 2, "exercise without number or minutes"),
        (change(2, "3.1", "3.7"), 4, "no check of exercise 3.7"),
        (change(4, "3.1", "3.2"), 4, "no check of exercise 3.1"),
        (change(4, "check(", "print("), 4, "no check of exercise 3.1"),
        (retag(0, "check"), 0, "tagged check but is markdown"),
        (change(0, "line.png)", "lost.png)"), 0, "links to ../figures/lost.png, which does not"),
    ],
)
def test_what_is_amiss_gets_a_line_and_nothing_is_written(edit, cell, words, source):
    cells = lesson_cells()
    edit(cells)
    write(source, cells)
    with pytest.raises(UserError) as error:
        make_course.make(source, source.parent / "course")
    place = str(source / "03_network.ipynb") + ("" if cell is None else f", cell {cell}")
    assert any(line.startswith(place) and words in line for line in str(error.value).splitlines())
    assert not (source.parent / "course").exists()


def test_an_exercise_that_the_library_cannot_check_is_named(source, monkeypatch):
    monkeypatch.setattr(make_course, "exercises", lambda: {"3.2": None})
    with pytest.raises(UserError, match=r"03_network\.ipynb, cell 4: no such exercise: 3\.1; add"):
        make_course.make(source, source.parent / "course")


def test_a_file_that_is_no_notebook_is_named(source):
    (source / "05_broken.ipynb").write_text("{")
    with pytest.raises(UserError, match=r"05_broken\.ipynb: not a notebook"):
        make_course.make(source, source.parent / "course")


def test_an_interrupted_call_keeps_no_file_that_nobody_changed(source, monkeypatch):
    course = source.parent / "course"
    texts = {"student/a.ipynb": "1", "student/b.ipynb": "1"}
    write_json, calls = make_course.write_json, []

    def once(path, content):
        if calls:
            raise KeyboardInterrupt
        calls.append(path)
        write_json(path, content)

    monkeypatch.setattr(make_course, "write_json", once)
    with pytest.raises(KeyboardInterrupt):
        make_course.write(texts, course)
    monkeypatch.undo()
    kept = make_course.write({"student/a.ipynb": "2"}, course)
    assert kept == []
    assert (course / "student" / "a.ipynb").read_text() == "2"
