"""What lessons call: figures and tables that are saved on request, checks, quizzes, the plan."""

import json
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from nbformat.v4 import new_markdown_cell, new_notebook, writes

from spineseg import course
from spineseg.course import checks, plan, quizzes
from spineseg.course.checks import Exercise, check, number, verdict
from spineseg.experiment import Experiment
from spineseg.utils.errors import UserError


@pytest.fixture
def shell() -> InteractiveShell:
    return InteractiveShell.instance()


@pytest.fixture
def lesson(workspace, shell) -> course.Lesson:
    return course.Lesson(Experiment.of("", "smoke"))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def fill(lesson: course.Lesson) -> list:
    """Show a figure, write a table and arrays; returns what was shown."""
    with capture_output() as captured:
        figure, axes = plt.subplots()
        axes.plot([0, 1])
        lesson.show(figure, "line", alt="A line that rises.")
    lesson.write_table(pd.DataFrame({"value": [1]}), "table.csv")
    lesson.write_arrays("arrays.npz", value=np.ones(2))
    return captured.outputs


def test_a_lesson_saves_nothing_unless_told(lesson, workspace):
    fill(lesson)
    assert files(workspace) == []


def test_a_lesson_saves_what_it_is_told_to(lesson, workspace):
    lesson.save = True
    fill(lesson)
    assert files(workspace) == ["arrays.npz", "line.png", "line.svg", "table.csv"]
    table = pd.read_csv(lesson.experiment.results / "table.csv")
    assert table.to_dict("records") == [
        {"data": "phantom", "profile": "smoke", "device": "any", "value": 1}
    ]


def test_a_figure_without_a_name_is_never_saved(lesson, workspace):
    lesson.save = True
    with capture_output():
        lesson.show(plt.figure(), alt="Nothing.")
    assert files(workspace) == []


def test_a_figure_is_shown_once_with_its_text(lesson):
    before = plt.get_fignums()  # figures that other tests left open
    (output,) = fill(lesson)
    assert output.metadata == {"image/png": {"alt": "A line that rises."}}
    assert plt.get_fignums() == before


# --- checks


@pytest.fixture
def exercise(monkeypatch):
    """Exercise 1.1 with a judge of one's choice."""

    def use(judge) -> None:
        monkeypatch.setattr(checks, "exercises", lambda: {"1.1": Exercise(judge, "So it is.")})

    return use


@pytest.mark.parametrize(
    "answer", [3, 3.0, np.float32(3), np.array(3), np.array([3.0]), pd.Series([3]), "3"]
)
def test_a_number_is_accepted_in_many_forms(answer, exercise):
    exercise(number(3))
    assert verdict("1.1", answer) == "right. So it is."


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (None, "no answer yet. Put yours in place of None and run both cells."),
        (30, "not yet. This is in mm."),
        (4, "not yet. Another number."),
        (float("nan"), "not yet. Another number."),
        ("three", "not yet. your answer cannot be used here: ValueError"),
        ([1, 2], "not yet. your answer cannot be used here: ValueError"),
        (len, "not yet. your answer cannot be used here: TypeError"),
        (pd.DataFrame(), "not yet. your answer cannot be used here: ValueError"),
    ],
)
def test_an_odd_answer_gets_one_line(answer, said, exercise):
    exercise(number(3, mistakes=[(30, "This is in mm.")]))
    assert verdict("1.1", answer).startswith(said)
    assert "\n" not in verdict("1.1", answer)


def test_an_answer_that_fails_is_no_error(exercise):
    exercise(lambda answer: "" if answer(1) == 2 else "Another sum.")
    assert verdict("1.1", lambda x: x + 1).startswith("right.")
    assert verdict("1.1", lambda x: x / 0).startswith("not yet. your answer cannot be used here")


def test_an_unknown_exercise_is_named_with_those_that_exist(exercise):
    exercise(number(3))
    with pytest.raises(UserError, match=r"9\.9: no such exercise; choose one of 1\.1"):
        check("9.9", 3)


def test_a_check_says_which_exercise(exercise, capsys):
    exercise(number(3))
    check("1.1", 3)
    check("1.1", 4)
    right, wrong = capsys.readouterr().out.splitlines()
    assert right == "Exercise 1.1: right. So it is."
    assert wrong == "Exercise 1.1: not yet. Another number."


def test_nbgrader_sees_an_error_for_what_is_not_right(exercise, monkeypatch):
    """It gives points to cells without errors."""
    monkeypatch.setenv(checks.GRADING, "autograde")
    exercise(number(3))
    check("1.1", 3)
    for answer in (None, 4):
        with pytest.raises(AssertionError, match=r"^Exercise 1\.1: "):
            check("1.1", answer)


# --- quizzes


@pytest.fixture
def shown(tmp_path, monkeypatch, shell):
    """Show a quiz of one question and return its page."""
    answers = [
        {"type": "value", "value": 3, "correct": True, "feedback": "Yes."},
        {"type": "default", "feedback": "Count again."},
    ]
    question = {"question": "How many µm?", "type": "numeric", "answers": answers}
    (tmp_path / "03.json").write_text(json.dumps([question]), encoding="utf-8")
    monkeypatch.setattr(quizzes, "QUESTIONS", tmp_path)

    def show() -> str:
        with capture_output() as captured:
            course.quiz("03")
        pages = [text for output in captured.outputs for text in output.data.values()]
        assert len(captured.outputs) == 2
        return "\n".join(pages)

    return show


def test_a_quiz_is_the_same_each_time(shown):
    assert shown() == shown()


def test_a_quiz_leaves_the_random_numbers_alone(shown):
    import random

    random.seed(1)
    expected = random.random()
    random.seed(1)
    shown()
    assert random.random() == expected


def test_a_quiz_asks_nothing_from_outside(shown):
    page = shown()
    assert "How many" in page
    assert re.findall(r"(?:https?:)?//[\w.]+\.\w+/", page) == []


# --- the plan


def write_lessons(folder: Path, text: str) -> None:
    for session in plan.SESSIONS:
        for name in session.lessons:
            cell = new_markdown_cell(f"# {int(name[:2])} · A title\n\n{text}")
            (folder / f"{name}.ipynb").write_text(writes(new_notebook(cells=[cell])))


@pytest.mark.parametrize(
    "time",
    [
        "**Time:** about 30 minutes to read, 2 to run.",
        "**Time**: about 30 minutes to read, 2 minutes to run; the first time 3.",
        "Time: about 30 minutes to read, about 2 minutes to run.",
    ],
)
def test_the_plan_adds_the_minutes_of_its_lessons(time, tmp_path):
    exercises = [f"### Exercise 1.{n} · Count ({5 * n} minutes)\n\nCount." for n in (1, 2, 3)]
    write_lessons(tmp_path, "\n\n".join([time, *exercises]))
    second = course.course_plan(folder=tmp_path).splitlines()[3]
    assert second.startswith("| 2 | [4 · A title](04_training.ipynb)<br>[5 · A title](05_")
    assert "| 60 + 4 + 30 = 94 min | 30 min |" in second


def test_a_session_lasts_three_hours_at_most():
    for session in plan.SESSIONS:
        paths = [plan.NOTEBOOKS / f"{lesson}.ipynb" for lesson in session.lessons]
        assert 60 <= plan.total(map(plan.minutes_of, paths)).in_class <= 180


def test_a_lesson_without_minutes_is_named_and_does_not_stop_the_plan(tmp_path):
    write_lessons(tmp_path, "")
    assert "| not known | not known |" in course.course_plan(folder=tmp_path)
    lines = course.course_plan("notebooks/", minutes=False, folder=tmp_path).splitlines()
    assert "](notebooks/04_training.ipynb)" in lines[3]
    with pytest.raises(UserError, match=r"01_data_exploration\.ipynb: does not say how long"):
        plan.minutes_of(tmp_path / "01_data_exploration.ipynb")


# --- the set-up


def test_the_set_up_says_what_is_missing(workspace, capsys):
    course.check_set_up()
    said = capsys.readouterr().out
    assert "The library works: Python 3" in said
    assert f"The stored results are missing: {workspace / 'results' / 'phantom-laptop'}" in said
    assert "The scans are not simulated yet." in said


def test_the_set_up_says_that_all_is_there(workspace, capsys):
    for name in ("results/phantom-laptop/runs.json", "data/phantom/phantom.json"):
        (workspace / name).parent.mkdir(parents=True)
        (workspace / name).touch()
    course.check_set_up()
    said = capsys.readouterr().out
    assert "The stored results are there" in said
    assert "The simulated scans are there." in said
