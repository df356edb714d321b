"""Hash the code that a step depends on, so that an edit repeats only the affected steps.

A step names the folders and files of the package that can change its numbers. Their syntax is
hashed: comments, docstrings and layout do not count. `utils/` (files, locks, paths, progress bars)
cannot change a number, so no step names it.
"""

import ast
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from spineseg.methods import METHODS, NNUNET
from spineseg.utils.paths import PAPER

PACKAGE = Path(__file__).parent
READING = (
    *(
        "labels.py",
        "data/volume.py",
        "data/headers.py",
        "data/nifti.py",
        "data/segmentation.py",
        "data/dicom.py",
        "data/layouts.py",
    ),
    "data/levels.py",
)
ON_GRID = ("data/preprocess.py", "data/field.py", "data/padding.py", "data/gray.py")
PREPROCESSING = (*READING, *ON_GRID, "data/splits.py", "data/cache.py", "data/prepare.py")
SIMULATION = ("labels.py", "phantom")
TRAINING = ("training", "models/__init__.py", "models/blocks.py", "models/fast.py")
SCORING = (
    *(*READING, *ON_GRID, "data/overview.py", "inference", "training/transforms.py"),
    *("workflow/score.py", "evaluation/cases.py"),
    *("evaluation/metrics.py", "evaluation/surface.py", "evaluation/scores.py"),
    *("evaluation/noise.py", "evaluation/score_run.py", "evaluation/segmenters.py"),
)
TABLES = ("labels.py", "methods.py", "evaluation", "paper")


def phantom_code() -> str:
    """The code that simulates scans."""
    return fingerprint(*SIMULATION)


def cache_code() -> str:
    """The code that preprocesses scans."""
    return fingerprint(*PREPROCESSING)


def simulated_cache_code() -> str:
    """The code that simulates scans on the target grid itself."""
    return fingerprint(*SIMULATION, "data/gray.py", "data/cache.py", "data/splits.py")


def training_code(model: str) -> str:
    """The code that trains a method's runs, given the cache."""
    if model == NNUNET:
        return fingerprint("nnunet", "labels.py", "training/device.py")
    method = METHODS[model]
    network = f"models/{method.network.partition('.')[0]}.py"
    how = (method.network, method.options, method.has_stages, method.volumetric, method.noise)
    return fingerprint(*TRAINING, network, also=repr(how))


def scoring_code(model: str) -> str:
    """The code that scores a method's finished runs."""
    return fingerprint(*SCORING, *(["nnunet"] if model == NNUNET else []))


def gather_code() -> str:
    """The code that collects the scores of all runs."""
    return fingerprint("labels.py", "methods.py", "evaluation", "workflow/gather.py")


def tables_code() -> str:
    """The code that computes the tables from the scores, and the paper's numbers beside them."""
    return fingerprint(*TABLES, "models", "workflow/tables.py", also=_printed())


def compare_code() -> str:
    """The code that compares new runs with the stored ones."""
    return fingerprint(*TABLES, "workflow/compare.py")


def cost_code() -> str:
    """The code that measures the cost of the networks."""
    timing = ("training/device.py", "benchmark/cost.py", "benchmark/timing.py")
    return fingerprint("models", "nnunet/network.py", *timing)


def report_code() -> str:
    """The code that writes the report."""
    return fingerprint("workflow/report.py", "workflow/page.py", "workflow/compare.py")


def notebook_code(notebook: Path) -> str:
    """The code of a notebook, of what it calls, its questions and the paper's numbers.

    Its outputs do not count.
    """
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")
    code = "\n".join(sources)
    library = ("data", "models", "figures", "training", "inference", "phantom")
    questions = PACKAGE / "course" / "questions" / f"{notebook.name[:2]}.json"
    asked = questions.read_text(encoding="utf-8") if questions.is_file() else ""
    called = (*library, "workflow/tables.py", *_imported(code), *_course(notebook))
    return fingerprint(*TABLES, *called, also=_syntax(code) + asked + _printed())


def _printed() -> str:
    """The paper's printed numbers."""
    return "".join(path.read_text(encoding="utf-8") for path in sorted(PAPER.glob("*.csv")))


def _imported(code: str) -> set[str]:
    """The files and folders of the package that code imports, without `course/` and `utils/`."""
    nodes = (node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.ImportFrom))
    modules = {
        name
        for node in nodes
        for name in (f"{node.module}", *(f"{node.module}.{each.name}" for each in node.names))
    }
    own = f"{PACKAGE.name}."
    paths = {name.removeprefix(own).replace(".", "/") for name in modules if name.startswith(own)}
    return {
        file
        for path in paths
        if not path.startswith(("course", "utils"))
        for file in (path, f"{path}.py")
        if (PACKAGE / file).exists()
    }


def _course(notebook: Path) -> list[str]:
    """The files of the course that a notebook depends on: not the exercises of other lessons."""
    files = sorted(PACKAGE.glob("course/**/*.py"))
    others = [file for file in files if file.stem.startswith("lesson_")]
    own = f"lesson_{notebook.name[:2]}"
    names = [file for file in files if file not in others or file.stem == own]
    return [file.relative_to(PACKAGE).as_posix() for file in names]


def fingerprint(*names: str, also: str = "") -> str:
    """12 hex digits of the syntax of these files and folders of the package.

    `also` is a text that is hashed too. Raises ValueError for a name that does not exist.
    """
    digest = hashlib.sha256(also.encode())
    for file in sorted({file for name in names for file in _files(name)}):
        name, code = file.relative_to(PACKAGE).as_posix(), file.read_text(encoding="utf-8")
        digest.update(f"{name}\n{_syntax(code)}\n".encode())
    return digest.hexdigest()[:12]


def _files(name: str) -> Iterator[Path]:
    path = PACKAGE / name
    if not path.exists():
        raise ValueError(f"{name}: no such file or folder of the package")
    yield from path.rglob("*.py") if path.is_dir() else [path]


@cache
def _syntax(code: str) -> str:
    """Code without comments, docstrings and layout, the same for all versions of Python."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return repr(_plain(tree))


def _plain(node: object) -> object:
    """A syntax tree as nested tuples. Empty lists are left out: some versions add more."""
    if isinstance(node, ast.AST):
        fields = ((name, _plain(value)) for name, value in ast.iter_fields(node))
        full = (field for field in fields if field[1] != ())
        return type(node).__name__, *full
    if isinstance(node, list):
        return tuple(_plain(each) for each in node)
    return repr(node)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
