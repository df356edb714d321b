"""An edit of the code changes the fingerprints of the steps that depend on it, and no others."""

import ast
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from spineseg import fingerprint
from spineseg.methods import METHODS, NNUNET
from spineseg.utils.paths import PAPER, REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
STEPS = {
    "phantom": fingerprint.phantom_code,
    "cache": fingerprint.cache_code,
    "simulated": fingerprint.simulated_cache_code,
    **{f"train {name}": lambda name=name: fingerprint.training_code(name) for name in METHODS},
    **{f"score {name}": lambda name=name: fingerprint.scoring_code(name) for name in METHODS},
    "gather": fingerprint.gather_code,
    "compare": fingerprint.compare_code,
    "cost": fingerprint.cost_code,
    "tables": fingerprint.tables_code,
    "report": fingerprint.report_code,
    **{path.stem: lambda path=path: fingerprint.notebook_code(path) for path in NOTEBOOKS},
}
TRAININGS = {f"train {name}" for name in METHODS}
SCORINGS = {f"score {name}" for name in METHODS}
READERS = {path.stem for path in NOTEBOOKS}


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    """A copy of the package to edit."""
    copy = tmp_path / "spineseg"
    shutil.copytree(fingerprint.PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "PACKAGE", copy)
    return copy


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return {step: code() for step, code in STEPS.items()}


def changed_by(before: dict[str, str], package: Path, module: str, text: str) -> set[str]:
    file = package / module
    file.write_text(file.read_text() + text)
    return {step for step, code in STEPS.items() if code() != before[step]}


@pytest.mark.parametrize(
    ("module", "steps"),
    [
        ("models/segnet.py", {"train segnet", "cost", "tables", *READERS}),
        (
            "models/blocks.py",
            {*TRAININGS - {"train nnunet"}, "cost", "tables", *READERS},
        ),
        ("phantom/shapes.py", {"phantom", "simulated", *READERS}),
        ("evaluation/metrics.py", {*SCORINGS, "gather", "compare", "tables", *READERS}),
        ("nnunet/trainer.py", {f"train {NNUNET}", f"score {NNUNET}"}),
        ("evaluation/statistics.py", {"gather", "compare", "tables", *READERS}),
        ("data/preprocess.py", {"cache", *SCORINGS, *READERS}),
        ("data/headers.py", {"cache", *SCORINGS, *READERS}),
        ("training/loop.py", {*TRAININGS - {f"train {NNUNET}"}, *READERS}),
        ("course/checks.py", READERS),
        ("utils/progress.py", set()),
        ("cli.py", set()),
        ("workflow/cost.py", {"08_cost"}),
        ("workflow/compare.py", {"compare", "report"}),
        ("benchmark/timing.py", {"cost", "08_cost", "A2_speed"}),
        ("workflow/verify.py", set()),
    ],
)
def test_an_edit_reaches_the_steps_that_depend_on_it(before, package, module, steps):
    assert changed_by(before, package, module, "\nEDITED = True\n") == steps


def test_a_notebook_depends_on_what_it_imports():
    code = "from spineseg import benchmark\nfrom spineseg.workflow.study import experiments\n"
    assert fingerprint._imported(code) == {"benchmark", "workflow/study.py"}
    assert fingerprint._imported("import numpy\nfrom spineseg.course import check\n") == set()


def test_comments_docstrings_and_layout_do_not_count(before, package):
    assert changed_by(before, package, "models/segnet.py", "\n\n# said better\n") == set()
    file = package / "models" / "blocks.py"
    bare = ast.unparse(ast.parse(file.read_text()))
    shorter = bare.replace(ast.get_docstring(ast.parse(bare)) or "-", "Said better.")
    assert shorter != bare
    file.write_text(shorter)
    assert fingerprint.training_code("unet") == before["train unet"]


def test_each_method_has_its_own():
    assert len({fingerprint.training_code(name) for name in METHODS}) == len(METHODS)


def test_a_title_or_a_table_of_a_method_does_not_count(before, monkeypatch):
    other = replace(METHODS["unet"], title="U-Net", tables=("noise",), positions="-")
    monkeypatch.setitem(METHODS, "unet", other)
    assert fingerprint.training_code("unet") == before["train unet"]
    monkeypatch.setitem(METHODS, "unet", replace(other, noise=1.0))
    assert fingerprint.training_code("unet") != before["train unet"]


def test_the_version_of_python_does_not_count(monkeypatch):
    """Python 3.12 added a field to the syntax, empty in code that 3.11 can read."""
    code = "def double(x):\n    return 2 * x\n"
    syntax = fingerprint._syntax.__wrapped__  # not cached
    before = syntax(code)
    fields = ast.iter_fields
    monkeypatch.setattr(ast, "iter_fields", lambda node: [*fields(node), ("type_params", [])])
    assert syntax(code) == before
    assert syntax(code.replace("2", "3")) != before


def test_outputs_of_a_notebook_do_not_count(tmp_path):
    notebook = json.loads(NOTEBOOKS[0].read_text())
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell |= {"execution_count": 99, "outputs": []}
    copy = tmp_path / NOTEBOOKS[0].name
    copy.write_text(json.dumps(notebook))
    assert fingerprint.notebook_code(copy) == fingerprint.notebook_code(NOTEBOOKS[0])


def test_an_exercise_or_a_question_reaches_its_lesson(package):
    first, second = NOTEBOOKS[1:3]
    files = (
        package / "course" / "exercises" / f"lesson_{first.name[:2]}.py",
        package / "course" / "questions" / f"{first.name[:2]}.json",
    )
    for file in files:
        file.parent.mkdir(exist_ok=True)
        hashes = [fingerprint.notebook_code(path) for path in (first, second)]
        file.write_text("{}\n")
        assert fingerprint.notebook_code(first) != hashes[0]
        assert fingerprint.notebook_code(second) == hashes[1]


# They cannot change a number: names, commands, records, checks before any work.
SUPPORT = ("utils", "workflow", "benchmark", "outputs", "data/check.py", "data/convert.py")
SUPPORT += ("data/unpack.py", "data/zenodo.py")
SUPPORT += (
    "cli.py",
    "commands.py",
    "__main__.py",
    "experiment.py",
    "fingerprint.py",
    "profiles.py",
    "runs.py",
)


def test_every_file_is_part_of_a_step_or_support(monkeypatch):
    """A new file in a folder that a step names counts by itself; others are noticed here."""
    named: set[str] = set()
    monkeypatch.setattr(fingerprint, "fingerprint", lambda *names, also="": named.update(names))
    for code in STEPS.values():
        code()
    files = {file for name in {*named, *SUPPORT} for file in fingerprint._files(name)}
    every = {file for file in fingerprint.PACKAGE.rglob("*.py") if file.name != "__init__.py"}
    assert every - files == set()


def test_an_unknown_file_is_an_error():
    with pytest.raises(ValueError, match=r"nothing\.py: no such file"):
        fingerprint.fingerprint("nothing.py")


def test_a_corrected_number_of_the_paper_makes_tables_and_notebooks_again(monkeypatch, tmp_path):
    shutil.copytree(PAPER, tmp_path / "paper")
    monkeypatch.setattr(fingerprint, "PAPER", tmp_path / "paper")
    (notebook,) = (path for path in NOTEBOOKS if path.name.startswith("10_"))
    before = fingerprint.tables_code(), fingerprint.notebook_code(notebook)
    table = tmp_path / "paper" / "table3.csv"
    table.write_text(table.read_text().replace("88.4", "88.5", 1))
    after = fingerprint.tables_code(), fingerprint.notebook_code(notebook)
    assert all(one != other for one, other in zip(before, after, strict=True))
