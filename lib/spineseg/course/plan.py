"""The plan of the course: its sessions, and how many minutes each takes."""

import json
import re
from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path

from spineseg.utils.errors import UserError
from spineseg.utils.paths import REPOSITORY

NOTEBOOKS = REPOSITORY / "notebooks"
TITLE = re.compile(r"# (.+)")
TIME = re.compile(r"\bTime\b\W+about (\d+) minutes? to read,\D*(\d+)\b.*? to run")
HOMEWORK = ".3"  # how the number of an exercise ends that is solved after the session
EXERCISE = re.compile(r"### Exercise (\d+\.\d+) · (.+) \((\d+) minutes\)$", re.MULTILINE)


@dataclass(frozen=True)
class Session:
    """Some lessons that are taught together, and what you can do afterwards."""

    lessons: tuple[str, ...]  # names of notebooks
    objectives: str


@dataclass(frozen=True)
class Minutes:
    """How long a lesson takes: to read, to run, and to solve its exercises in class and at home."""

    read: int
    run: int
    solve: int
    home: int

    @property
    def in_class(self) -> int:
        return self.read + self.run + self.solve


SESSIONS = (
    Session(
        ("01_data_exploration", "02_preprocessing", "03_network"),
        "describe scans and their labels, bring a scan to one grid and back, "
        "build ASPP-UNet from its modules, measure what a network sees",
    ),
    Session(
        ("04_training", "05_ablation"),
        "write a training loop, score a network, read an ablation study",
    ),
    Session(
        ("06_baselines", "07_noise", "08_cost"),
        "compare methods case by case with an interval and a test, measure robustness to noise, "
        "count parameters and arithmetic",
    ),
    Session(
        ("09_mechanism", "10_audit", "11_verdicts"),
        "test an explanation with controls, check a paper from its own tables, "
        "judge what reproduced",
    ),
)


def course_plan(links: str = "", minutes: bool = True, folder: Path = NOTEBOOKS) -> str:
    """The sessions as a table in Markdown. `links` is put before the name of each notebook.

    The last exercise of each lesson is for after the session. If a lesson does not say how long it
    takes, its session's minutes are "not known".
    """
    times = ["in class: read + run + solve", "at home"] if minutes else []
    columns = ["session", "lessons", *times, "afterwards you can"]
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for number, session in enumerate(SESSIONS, start=1):
        paths = [folder / f"{lesson}.ipynb" for lesson in session.lessons]
        cells = [str(number)]
        cells.append("<br>".join(f"[{title_of(path)}]({links}{path.name})" for path in paths))
        if minutes:
            cells += _minutes_together(paths)
        lines.append(f"| {' | '.join([*cells, session.objectives])} |")
    return "\n".join(lines)


def _minutes_together(lessons: list[Path]) -> tuple[str, str]:
    """In class and at home."""
    try:
        time = total(map(minutes_of, lessons))
    except UserError:
        return "not known", "not known"
    return f"{time.read} + {time.run} + {time.solve} = {time.in_class} min", f"{time.home} min"


def total(minutes: Iterable[Minutes]) -> Minutes:
    """The sum over several lessons."""
    return Minutes(*map(sum, zip(*map(astuple, minutes), strict=True)))


def title_of(lesson: Path) -> str:
    """The heading of a notebook."""
    return _found(TITLE, lesson, "has no title", "begin its first cell with `# 3 · Title`")[1]


def minutes_of(lesson: Path) -> Minutes:
    """The minutes that a lesson names."""
    wanted = "write `**Time:** about 30 minutes to read, 2 to run` into its first cell"
    time = _found(TIME, lesson, "does not say how long it takes", wanted)
    solve = {True: 0, False: 0}
    for number, _, needed in EXERCISE.findall(_prose(lesson)):
        solve[number.endswith(HOMEWORK)] += int(needed)
    return Minutes(int(time[1]), int(time[2]), solve[False], solve[True])


def _found(pattern: re.Pattern[str], lesson: Path, what: str, remedy: str) -> re.Match[str]:
    found = pattern.search(_prose(lesson))
    if found is None:
        raise UserError.at(lesson, what, remedy)
    return found


def _prose(lesson: Path) -> str:
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
