"""The lessons as a course: exercises, answers, quizzes, the frame, and what students get."""

import ast
import importlib.util
import json
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pytest
from nbformat import NotebookNode

from spineseg.course.checks import exercises, verdict
from spineseg.course.plan import EXERCISE, SESSIONS, minutes_of
from spineseg.utils.paths import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"
ANSWERS = Path(__file__).with_name("answers")
QUESTIONS = REPOSITORY / "lib" / "spineseg" / "course" / "questions"
START, *REST = sorted(NOTEBOOKS.glob("*.ipynb"))
LESSONS = [path for path in REST if path.name[0] == "0" or path.name[0] == "1"]
FEWEST_EXERCISES = 3  # of a lesson
TYPES = ("multiple_choice", "many_choice", "numeric")
# Abbreviations that need no explanation here, and names of formats and programs.
KNOWN = """ASPP-UNet U-Net-2D U-Net-3D CSV README CONTRIBUTING MONAI NVIDIA PNG ID JSON SLURM GB MB
GiB MiB NIfTI DICOM SPIDER PyTorch NumPy JupyterLab PlainConvUNet BasicUNet"""
SHORTEST_LEAK = 16  # letters of a line that says something about a solution


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make_course = _load(REPOSITORY / "tools" / "make_course.py")


def tagged(notebook: NotebookNode, tag: str) -> list[int]:
    return [i for i, cell in enumerate(notebook.cells) if tag in cell.metadata.get("tags", [])]


def prose(notebook: NotebookNode) -> str:
    return "\n\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")


SOURCES = {path: nbformat.read(path, as_version=4) for path in [START, *REST]}
WRITTEN = [path for path in LESSONS if tagged(SOURCES[path], "exercise")]
READ = {path: make_course.read(path, set(exercises())) for path in [START, *REST]}
each_lesson = pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)

# --- answers

GIVEN = {path.stem: _load(path) for path in sorted(ANSWERS.glob("lesson_*.py"))}
RIGHT = {number: given for module in GIVEN.values() for number, given in module.RIGHT.items()}
WRONG = {number: given for module in GIVEN.values() for number, given in module.WRONG.items()}


@pytest.mark.parametrize(
    ("number", "place"), [(number, i) for number, given in RIGHT.items() for i in range(len(given))]
)
def test_a_right_answer_is_right(number, place):
    said = verdict(number, RIGHT[number][place])
    assert said.startswith("right."), said


NUMBERS = {number: given[0] for number, given in RIGHT.items() if isinstance(given[0], int | float)}


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("box", [lambda x: [x], lambda x: np.array([[x]]), lambda x: pd.Series(x)])
def test_a_number_may_come_in_a_list_an_array_or_a_column(number, box):
    said = verdict(number, box(NUMBERS[number]))
    assert said.startswith("right."), said


@pytest.mark.parametrize(
    ("number", "place"), [(number, i) for number, given in WRONG.items() for i in range(len(given))]
)
def test_a_wrong_answer_gets_its_hint(number, place):
    answer, phrase = WRONG[number][place]
    said = verdict(number, answer)
    assert said.startswith("not yet."), said
    assert phrase in said


@pytest.mark.parametrize("number", exercises())
def test_each_exercise_has_answers_and_refuses_no_answer(number):
    assert len(RIGHT.get(number, [])) >= 2
    assert len(WRONG.get(number, [])) >= 2
    assert verdict(number, None).startswith("no answer yet.")
    assert exercises()[number].because


def test_answers_are_those_of_the_exercises_of_their_lesson():
    assert set(RIGHT) == set(WRONG) == set(exercises())
    for name, module in GIVEN.items():
        own = f"{int(name.removeprefix('lesson_'))}."
        assert all(number.startswith(own) for number in [*module.RIGHT, *module.WRONG])


# --- exercises in the notebooks


def test_every_lesson_has_its_exercises():
    """The plan, the notebooks and the exercises of the library are the same lessons."""
    planned = [lesson for session in SESSIONS for lesson in session.lessons]
    assert planned == [path.stem for path in LESSONS]
    too_few = {path.stem: n for path in LESSONS if (n := READ[path].exercises) < FEWEST_EXERCISES}
    assert too_few == {}


def test_each_exercise_is_once_in_the_notebook_of_its_lesson():
    found = Counter(
        (number, path.name[:2])
        for path, lesson in READ.items()
        for kind, number in lesson.kinds.values()
        if kind == "exercise"
    )
    assert found == Counter((number, f"{int(number.split('.')[0]):02d}") for number in exercises())


@each_lesson
def test_a_stub_answers_nothing(path):
    """What a student starts with: None, or a form to fill in, which the check refuses."""
    lesson = READ[path]
    notebook = make_course.for_students(lesson, NOTEBOOKS, NOTEBOOKS)
    for index, (kind, number) in lesson.kinds.items():
        if kind == "check":
            stub = notebook.cells[max(i for i in lesson.kinds if i < index)]
            (checked,) = re.findall(r'check\("[\d.]+", *(\w+)\)', notebook.cells[index].source)
            assigned = [
                node.value
                for node in ast.parse(stub.source).body
                if isinstance(node, ast.Assign)
                and [ast.unparse(target) for target in node.targets] == [checked]
            ]
            assert assigned, f"{number}: {checked} is not in the stub"
            assert not verdict(number, ast.literal_eval(assigned[-1])).startswith("right.")
            assert "#" in stub.source, f"{number}: the stub does not say what is expected"


@each_lesson
def test_the_stored_solution_passes_its_check(path):
    """In a lesson that was executed; test_notebooks.py wants all of them executed."""
    lesson = READ[path]
    for index, (kind, number) in lesson.kinds.items():
        cell = lesson.notebook.cells[index]
        if kind == "check" and cell.execution_count is not None:
            (output,) = cell.outputs
            assert output.text.startswith(f"Exercise {number}: right.")


@each_lesson
def test_no_line_of_a_solution_reaches_students(path):
    """Except lines that the lesson itself shows in its code. A hint may give half of the lines."""
    lesson = READ[path]
    student = make_course.for_students(lesson, NOTEBOOKS, NOTEBOOKS)
    texts = "\n".join(cell.source for cell in student.cells)
    assert make_course.BEGIN not in texts
    assert make_course.END not in texts
    shown = {
        line.strip()
        for index, cell in enumerate(lesson.notebook.cells)
        if cell.cell_type == "code" and index not in lesson.kinds
        for line in cell.source.splitlines()
    }
    bare = re.sub(r"<details>.*?</details>", "", texts, flags=re.DOTALL)
    for index, (kind, number) in lesson.kinds.items():
        if kind == "solution":
            region = make_course.REGION.findall(lesson.notebook.cells[index].source)
            lines = {line.strip() for line in "\n".join(region).splitlines()}
            own = {line for line in lines - shown if len(line) >= SHORTEST_LEAK}
            assert own, f"{number}: the solution is empty"
            assert not [line for line in own if line in bare]
            hinted = [line for line in own if line in texts]
            assert len(hinted) <= len(own) / 2, f"{number}: its hint is the solution"


@each_lesson
def test_students_get_no_outputs(path):
    notebook = make_course.for_students(READ[path], NOTEBOOKS, NOTEBOOKS)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


def test_a_students_notebook_runs_and_its_solutions_pass(tmp_path):
    """The quickest lesson: at first every check refuses; then the solutions follow and pass."""
    path = min(WRITTEN, key=lambda path: minutes_of(path).run)
    make_course.make(course=tmp_path)
    student, solved = (
        nbformat.read(tmp_path / folder / path.name, as_version=4)
        for folder in ("student", "solutions")
    )
    work = [i for i, (kind, _) in READ[path].kinds.items() if kind != "exercise"]
    checks = [i for i, (kind, _) in READ[path].kinds.items() if kind == "check"]
    for cell in (solved.cells[index] for index in work):
        student.cells.append(nbformat.v4.new_code_cell(cell.source))
    client = nbclient.NotebookClient(
        student,
        kernel_name="python3",
        timeout=600,
        resources={"metadata": {"path": str(tmp_path / "student")}},
    )
    client.execute()
    at_first = [student.cells[index].outputs[0].text for index in checks]
    at_last = [cell.outputs[0].text for cell in student.cells[-len(work) :][1::2]]
    numbers = [READ[path].kinds[index][1] for index in checks]
    assert [text.split(".")[:2] for text in at_first] == [
        f"Exercise {number}: no answer yet".split(".") for number in numbers
    ]
    for number, text in zip(numbers, at_last, strict=True):
        assert text.startswith(f"Exercise {number}: right."), text


# --- the frame of a lesson


@each_lesson
def test_a_lesson_says_what_it_is_and_what_it_needs(path):
    first = SOURCES[path].cells[0].source
    assert re.match(rf"# {int(path.name[:2])} · ", first)
    assert "https://doi.org/10.3934/mbe.2023713" in first
    for words in ("**You need**", "**Time", "**Afterwards you can**"):
        assert words in first
    objectives = first.partition("**Afterwards you can**")[2]
    assert len(re.findall(r"^(?:[-*]|\d\.) ", objectives, re.MULTILINE)) == 3
    minutes = minutes_of(path)
    assert 0 < minutes.read <= 60
    assert 0 <= minutes.run <= 10
    assert 15 <= minutes.solve + minutes.home <= 45


@each_lesson
def test_a_lesson_asks_before_it_tells(path):
    notebook = SOURCES[path]
    (quiz,), (prediction,) = tagged(notebook, "quiz"), tagged(notebook, "prediction")
    before = "\n\n".join(cell.source for cell in notebook.cells[:prediction])
    assert before.index("**The question.**") < before.index("**Predict before you run.**")
    assert f'quiz("{path.name[:2]}")' in notebook.cells[quiz].source
    assert "nbval-ignore-output" in notebook.cells[quiz].metadata.tags
    assert quiz == prediction + 1  # the quiz can give the answer away
    assert notebook.cells[prediction].cell_type == "markdown"
    assert "*Your prediction:*" in notebook.cells[prediction].source
    headings = re.findall(r"^## (.+)$", prose(notebook), re.MULTILINE)
    assert headings.index("What it says") < headings.index("Exercises")
    assert "paper's own scale" not in prose(notebook)


@each_lesson
def test_an_exercise_has_minutes_and_a_hint(path):
    notebook = SOURCES[path]
    for index in tagged(notebook, "exercise"):
        heading = EXERCISE.match(notebook.cells[index].source)
        assert heading is not None
        assert 5 <= int(heading[3]) <= 15
        hint = r"<details>\s*<summary>Hint[^<]*</summary>.+?</details>"
        assert re.search(hint, notebook.cells[index].source, re.DOTALL)


@pytest.mark.parametrize("path", [START, *WRITTEN], ids=lambda path: path.stem)
def test_the_last_cell_links_to_the_neighbours(path):
    order = [START, *LESSONS]
    place = order.index(path)
    last = SOURCES[path].cells[-1]
    assert last.cell_type == "markdown"
    links = re.findall(r"\]\(([^)#]+\.ipynb)", last.source)
    neighbours = [order[i] for i in (place - 1, place + 1) if 0 <= i < len(order)]
    assert {each.name for each in neighbours} <= set(links)


@pytest.mark.parametrize("path", [START, *REST], ids=lambda path: path.stem)
def test_links_to_headings_lead_to_one(path):
    """JupyterLab's anchors are the headings with hyphens for spaces."""
    for name, anchor in re.findall(r"\]\(([\w]+\.ipynb)?#([^)]+)\)", prose(SOURCES[path])):
        target = SOURCES[NOTEBOOKS / name if name else path]
        headings = re.findall(r"^#+ (.+)$", prose(target), re.MULTILINE)
        assert anchor in [heading.replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_abbreviations_are_in_the_glossary(path):
    glossary = prose(SOURCES[START]).partition("## Glossary")[2]
    text = re.sub(
        r"```.*?```|`[^`]*`|\$\$.*?\$\$|\$[^$\n]*\$", " ", prose(SOURCES[path]), flags=re.S
    )
    text = re.sub(r"\]\([^)]*\)|https?://\S+", " ", text)
    found = set(re.findall(r"\b[A-Za-z]*[A-Z][A-Za-z]*[A-Z][A-Za-z]*\b", text))
    explained = set(re.findall(r"[A-Za-z]+", f"{glossary} {KNOWN}"))
    plural = {word.removesuffix("s") for word in found if word.removesuffix("s") in explained}
    assert {word for word in found - explained if word.removesuffix("s") not in plural} == set()


# --- quizzes


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.stem)
def test_a_quiz_can_be_answered(path):
    text = (QUESTIONS / f"{path.name[:2]}.json").read_text(encoding="utf-8")
    assert "$" not in text
    questions = json.loads(text)
    assert questions
    for question in questions:
        assert question["question"].strip()
        assert question["type"] in TYPES
        answers = question["answers"]
        assert all(answer["feedback"].strip() for answer in answers)
        right = [answer for answer in answers if answer.get("correct")]
        if question["type"] == "numeric":
            assert right
            assert [answer["type"] for answer in answers].count("default") == 1
            assert all({"value", "range"} & set(answer) for answer in right)
        else:
            texts = [answer["answer"] for answer in answers]
            assert len(set(texts)) == len(texts) >= 2
            assert right
            assert question["type"] == "many_choice" or len(right) == 1


def test_no_quiz_is_without_a_lesson():
    numbers = {path.name[:2] for path in LESSONS}
    assert {path.stem for path in QUESTIONS.glob("*.json")} <= numbers
