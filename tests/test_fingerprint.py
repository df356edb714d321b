"""An edit of the code changes the fingerprints of what rests on it, and no others."""

import ast
import shutil
from pathlib import Path

import pytest

from spineseg import fingerprint
from spineseg.methods import METHODS, NNUNET
from spineseg.utils.paths import REPOSITORY

NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))
STEPS = {
    "phantom": fingerprint.of_phantom,
    "cache": fingerprint.of_cache,
    "simulated": fingerprint.of_simulated,
    **{f"train {name}": lambda name=name: fingerprint.of_training(name) for name in METHODS},
    **{f"score {name}": lambda name=name: fingerprint.of_scoring(name) for name in METHODS},
    "gather": lambda: fingerprint.of_results("spineseg.workflow.gather"),
    "cost": lambda: fingerprint.of_results("spineseg.benchmark.cost"),
    **{path.stem: lambda path=path: fingerprint.of_results(str(path)) for path in NOTEBOOKS},
}
TRAININGS = {f"train {name}" for name in METHODS}
SCORINGS = {f"score {name}" for name in METHODS}
BUILDING = {
    "cost",
    *(path.stem for path in NOTEBOOKS if path.stem[:2] not in ("01", "02", "04", "11")),
}


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A copy of the package to edit; its fingerprints are taken afresh each time."""
    copy = tmp_path / "spineseg"
    shutil.copytree(fingerprint.LIBRARY, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(fingerprint, "LIBRARY", copy)
    yield copy
    forget()


def forget() -> None:
    fingerprint._imports.cache_clear()
    fingerprint._syntax.cache_clear()


def changed_by(library: Path, module: str, text: str) -> set[str]:
    forget()
    before = {step: of() for step, of in STEPS.items()}
    file = library / module
    file.write_text(file.read_text() + text)
    forget()
    return {step for step, of in STEPS.items() if of() != before[step]}


@pytest.mark.parametrize(
    ("module", "steps"),
    [
        ("models/segnet.py", {"train segnet", *BUILDING}),
        ("models/blocks.py", {*TRAININGS - {"train nnunet"}, *BUILDING}),
        ("data/phantom/shapes.py", {"phantom", "simulated"}),
        ("metrics.py", {*SCORINGS, *(path.stem for path in NOTEBOOKS)}),
        ("nnunet.py", {f"train {NNUNET}", f"score {NNUNET}"}),
        ("statistics.py", {"gather", *(path.stem for path in NOTEBOOKS[3:])}),
        ("progress.py", set()),
        ("cli.py", set()),
    ],
)
def test_an_edit_reaches_what_rests_on_it(library, module, steps):
    assert changed_by(library, module, "\nEDITED = True\n") == steps


def test_comments_docstrings_and_layout_do_not_count(library):
    assert changed_by(library, "models/segnet.py", "\n\n# said better\n") == set()
    file = library / "models" / "blocks.py"
    bare = ast.unparse(ast.parse(file.read_text()))
    shorter = bare.replace(ast.get_docstring(ast.parse(bare)) or "-", "Said better.")
    assert shorter != bare
    forget()
    before = fingerprint.of_training("unet")
    file.write_text(shorter)
    forget()
    assert fingerprint.of_training("unet") == before


def test_each_entry_of_the_registry_has_its_own():
    assert len({fingerprint.of_training(name) for name in METHODS}) == len(METHODS)


def test_outputs_of_a_notebook_do_not_count(tmp_path):
    source = NOTEBOOKS[0].read_text()
    copy = tmp_path / NOTEBOOKS[0].name
    copy.write_text(source.replace('"execution_count": 1,', '"execution_count": 99,'))
    assert copy.read_text() != source
    assert fingerprint.of_results(str(copy)) == fingerprint.of_results(str(NOTEBOOKS[0]))


def test_every_module_is_plumbing_or_counts_somewhere():
    """A new module cannot be forgotten: some step rests on it, or PLUMBING names it."""
    files = fingerprint.LIBRARY.rglob("*.py")
    names = {
        ".".join(("spineseg", *f.relative_to(fingerprint.LIBRARY).with_suffix("").parts))
        for f in files
    }
    every = {name.removesuffix(".__init__") for name in names} - {"spineseg", "spineseg.data"}
    entries = [fingerprint.PHANTOM, fingerprint.CACHE, fingerprint.TRAIN, fingerprint.TRAIN_NNUNET]
    entries += [
        *fingerprint.SCORING,
        "spineseg.workflow.gather",
        "spineseg.benchmark.cost",
        "spineseg.workflow.report",
    ]
    entries += ["spineseg.benchmark.run", "spineseg.workflow.full", "spineseg.paper.full_scale"]
    found = fingerprint.modules([*entries, *map(str, NOTEBOOKS)])
    assert every - found - fingerprint.PLUMBING == set()


def test_an_unknown_module_is_an_error():
    with pytest.raises(ValueError, match=r"spineseg\.nothing: no such module"):
        fingerprint.of_results("spineseg.nothing")
