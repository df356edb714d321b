"""Write notebooks for students, solutions and a source for nbgrader into course/.

The one source is notebooks/. Cells are told apart by their tags:

    prediction  what a student expects, in words: the cell stays as it is
    exercise    the text of an exercise: `### Exercise 3.1 · title (5 minutes)`
    solution    its solution between the lines `### BEGIN SOLUTION` and `### END SOLUTION`
    check       `check("3.1", answer_3_1)`

Notebooks in course/ that somebody changed are kept.
"""

import hashlib
import os
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from spineseg.course.checks import exercises
from spineseg.course.plan import EXERCISE, NOTEBOOKS
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import atomic_write, read_json, write_json
from spineseg.utils.paths import REPOSITORY

COURSE = REPOSITORY / "course"
WRITTEN = "written.json"  # {path in course/: hash of what was written there}
KINDS = {"exercise": "markdown", "solution": "code", "check": "code"}  # tags in their order
POINTS = 1  # of each exercise
WITH_ALL_LESSONS = ("student", "solutions")  # folders in which a lesson's neighbours are beside it
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
REGION = re.compile(rf"^[ \t]*{BEGIN}[ \t]*\n(.*?)^[ \t]*{END}[ \t]*(?:\n|\Z)", re.M | re.S)
CHECK = re.compile(r'check\("(\d+\.\d+)", *\w+\)')
LINK = re.compile(r'(\]\(|\b(?:src|href)=")(?![a-z]+:|#)([^)"#\s]+)')
GRADED = {  # nbgrader's names of what a cell is
    "exercise": {"grade": False, "locked": True, "solution": False},
    "solution": {"grade": False, "locked": False, "solution": True},
    "check": {"grade": True, "locked": True, "solution": False, "points": POINTS},
}
NBGRADER = """# Where a solution is cut out, nothing is put in: the cells run without it.
c = get_config()
c.ClearSolutions.code_stub = {"python": "# Write your code here."}
"""


@dataclass(frozen=True)
class Lesson:
    """A notebook whose exercises are complete. `kinds` are the tagged cells: (kind, exercise)."""

    name: str
    notebook: NotebookNode
    kinds: dict[int, tuple[str, str]]

    @property
    def exercises(self) -> int:
        return sum(kind == "exercise" for kind, _ in self.kinds.values())


def read(path: Path, known: set[str]) -> Lesson:
    """Read a lesson; UserError names each cell that is not as it must be.

    `known` are the exercises that have a check.
    """
    try:
        notebook = nbformat.read(path, as_version=4)
    except ValueError as error:
        raise UserError.at(path, f"not a notebook ({error})", "repair the file") from None
    problems: list[Problem] = []
    kinds: dict[int, tuple[str, str]] = {}
    wanted = list(KINDS)
    number, due = "", "exercise"
    for index, cell in enumerate(notebook.cells):

        def fault(what: str, remedy: str, where: str = f"{path}, cell {index}") -> None:
            problems.append(Problem(where, what, remedy))

        for link in missing_links(cell, path.parent):
            fault(f"links to {link}, which does not exist", "mend the link")
        found = [kind for kind in KINDS if kind in cell.metadata.get("tags", [])]
        if not found and (BEGIN in cell.source or END in cell.source):
            fault("holds a solution without the tag", "tag the cell `solution`")
        for kind in found:
            if cell.cell_type != KINDS[kind]:
                fault(f"tagged {kind} but is {cell.cell_type}", f"make it {KINDS[kind]}")
            if kind != due:
                before = f"{due} of exercise {number}" if number else "exercise"
                fault(f"{kind} where the {before} is due", f"tag {', '.join(wanted)}, in order")
            number, text = _number(kind, cell.source, number)
            if text:
                fault(text, _REMEDIES[kind])
            if kind == "check" and number not in known:
                fault(f"no such exercise: {number}", "add it to spineseg/course/exercises/")
            kinds[index] = kind, number
            due = wanted[(wanted.index(kind) + 1) % len(wanted)]
    if due != "exercise":
        problems.append(Problem(path, f"exercise {number} has no {due}", "add the cell"))
    if problems:
        raise UserError(*problems)
    return Lesson(path.stem, notebook, kinds)


_REMEDIES = {
    "exercise": "begin it with `### Exercise 3.1 · title (5 minutes)`",
    "solution": f"put the solution between `{BEGIN}` and `{END}`, each once and on its own line",
    "check": 'write `check("3.1", answer_3_1)` with the number of the exercise before',
}


def _number(kind: str, source: str, current: str) -> tuple[str, str]:
    """The exercise that a cell belongs to, and what is wrong with it, or nothing."""
    if kind == "exercise":
        heading = EXERCISE.match(source)
        return (heading[1], "") if heading else (current, "exercise without number or minutes")
    if kind == "solution":
        once = source.count(BEGIN) == source.count(END) == len(REGION.findall(source)) == 1
        return current, "" if once else "solution without its markers"
    called = CHECK.findall(source)
    return current, "" if called == [current] else f"no check of exercise {current}"


def missing_links(cell: NotebookNode, folder: Path) -> Iterator[str]:
    """The targets of relative links that are not there."""
    if cell.cell_type == "markdown":
        for _, target in LINK.findall(cell.source):
            if not (folder / target).exists():
                yield target


def for_students(lesson: Lesson, source: Path, target: Path) -> NotebookNode:
    """Without outputs, and without what is between the markers of a solution."""
    return _bare(lesson, source, target, keep_solutions=False)


def for_nbgrader(lesson: Lesson, source: Path, target: Path) -> NotebookNode:
    """Without outputs; nbgrader itself takes the solutions out."""
    return _bare(lesson, source, target, keep_solutions=True)


def _bare(lesson: Lesson, source: Path, target: Path, keep_solutions: bool) -> NotebookNode:
    notebook = _graded(lesson, source, target)
    for index, cell in enumerate(notebook.cells):
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
            if lesson.kinds.get(index, ("",))[0] == "solution" and not keep_solutions:
                cell.source = REGION.sub("", cell.source).rstrip("\n")
    return notebook


def solved(lesson: Lesson, source: Path, target: Path) -> NotebookNode:
    """Everything, without the markers."""
    notebook = _graded(lesson, source, target)
    for index, (kind, _) in lesson.kinds.items():
        if kind == "solution":
            text = REGION.sub(lambda match: match[1], notebook.cells[index].source)
            notebook.cells[index].source = text.rstrip("\n")
    return notebook


def _graded(lesson: Lesson, source: Path, target: Path) -> NotebookNode:
    """A copy with nbgrader's metadata, whose links work in the folder `target`."""
    notebook = deepcopy(lesson.notebook)
    for index, (kind, number) in lesson.kinds.items():
        cell = notebook.cells[index]
        cell.metadata["nbgrader"] = {
            "grade_id": f"{kind}-{number.replace('.', '-')}",
            "cell_type": cell.cell_type,
            "schema_version": 3,
            "task": False,
            **GRADED[kind],
        }
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = LINK.sub(lambda match: _relinked(match, source, target), cell.source)
    return notebook


def _relinked(match: re.Match[str], source: Path, target: Path) -> str:
    path = source / match[2]
    lesson = path.suffix == ".ipynb" and path.resolve().parent == source.resolve()
    beside = lesson and target.name in WITH_ALL_LESSONS
    moved = path.name if beside else Path(os.path.relpath(path, target)).as_posix()
    return match[1] + moved


def make(source: Path = NOTEBOOKS, course: Path = COURSE) -> list[str]:
    """Write the course; returns lines that say what was written where.

    Raises UserError for what is wrong with the notebooks, and then writes nothing.
    """
    known = set(exercises())
    lessons, problems = [], []
    for path in sorted(source.glob("*.ipynb")):
        try:
            lessons.append(read(path, known))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    texts = {"nbgrader/nbgrader_config.py": NBGRADER}
    for lesson in lessons:
        file = f"{lesson.name}.ipynb"
        students, solutions = course / "student", course / "solutions"
        texts[f"student/{file}"] = nbformat.writes(for_students(lesson, source, students))
        texts[f"solutions/{file}"] = nbformat.writes(solved(lesson, source, solutions))
        if lesson.exercises:
            graded = course / "nbgrader" / "source" / lesson.name
            text = nbformat.writes(for_nbgrader(lesson, source, graded))
            texts[f"nbgrader/source/{lesson.name}/{file}"] = text
    kept = write(texts, course)
    count = sum(lesson.exercises for lesson in lessons)
    lines = [
        f"{course / 'student'}: {len(lessons)} notebooks with {count} exercises to solve",
        f"{course / 'solutions'}: the same with solutions and outputs",
        f"{course / 'nbgrader'}: the source of {count} graded exercises for nbgrader",
    ]
    return [*lines, *(f"{path}: kept, because it was changed" for path in kept)]


def write(texts: dict[str, str], course: Path) -> list[Path]:
    """Write these files; returns those that somebody changed, which are kept."""
    record = course / WRITTEN
    written = read_json(record) if record.is_file() else {}
    kept = []
    for name, text in texts.items():
        path, data = course / name, text.encode()
        if path.is_file() and _hash(path.read_bytes()) not in (written.get(name), _hash(data)):
            kept.append(path)
            continue
        with atomic_write(path) as temporary:
            temporary.write_bytes(data)
        written[name] = _hash(data)
        write_json(record, written)  # each time, so that an interrupted call does not keep files
    return kept


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


if __name__ == "__main__":
    try:
        print(*make(), sep="\n")
    except UserError as error:
        sys.exit(str(error))
