"""Which code a step's numbers rest on, so that an edit redoes what it changes and nothing else.

A fingerprint covers the syntax of modules, not their comments, docstrings or layout. Modules that
cannot change a number (where files lie, progress bars, the command line) do not count.
"""

import ast
import hashlib
import json
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

from spineseg.methods import NNUNET
from spineseg.models import MODELS

PACKAGE = "spineseg"
LIBRARY = Path(__file__).parent
PLUMBING = {
    f"{PACKAGE}.{name}"
    for name in (
        *("cli", "data.check", "data.convert", "files", "fingerprint", "paths", "processes"),
        *("profiles", "progress", "provenance", "runs", "experiment", "verify"),
    )
}
REGISTRIES = {f"{PACKAGE}.methods", f"{PACKAGE}.models"}
BUILDER = f"{PACKAGE}.models.build_model"  # gives any network by its name
CACHE = f"{PACKAGE}.data.preprocess"
PHANTOM = f"{PACKAGE}.data.phantom"
SIMULATED = f"{PACKAGE}.data.simulated"
SCORING = (f"{PACKAGE}.evaluate", f"{PACKAGE}.noise", f"{PACKAGE}.scores")
PREDICT, TRAIN = f"{PACKAGE}.predict", f"{PACKAGE}.train"
TRAIN_NNUNET = f"{PACKAGE}.{NNUNET}"


def of_phantom() -> str:
    """What a simulated set rests on."""
    return fingerprint([PHANTOM])


def of_cache() -> str:
    """What preprocessed scans rest on."""
    return fingerprint([CACHE])


def of_simulated() -> str:
    """What scans simulated on the unified grid rest on."""
    return fingerprint([SIMULATED])


def of_training(model: str) -> str:
    """What the weights of a method's runs rest on, given the cache."""
    upstream = REGISTRIES | modules([CACHE])
    if model == NNUNET:
        return fingerprint([TRAIN_NNUNET], {*upstream, TRAIN, PREDICT})
    entry = MODELS[model]
    others = {other.module for other in MODELS.values()} - {entry.module}
    without = {*upstream, *others, TRAIN_NNUNET}
    return fingerprint([TRAIN, entry.module], without, more=repr(entry))


def of_scoring(model: str) -> str:
    """What the scores of a method's finished runs rest on."""
    nnunet = [TRAIN_NNUNET] if model != NNUNET else []
    return fingerprint(SCORING, {*REGISTRIES, TRAIN, *nnunet})


def of_results(entry: str) -> str:
    """What a later step rests on, given the runs' scores: `entry` is its module or notebook."""
    return fingerprint([entry], {*SCORING, TRAIN, TRAIN_NNUNET, CACHE})


def fingerprint(entries: Collection[str], without: Collection[str] = (), more: str = "") -> str:
    """12 hex digits of these modules and all of the package that they import.

    `entries` are module names or notebook files (of which the folder does not count); neither
    `without` nor what only those import counts; `more` is a text to go along.
    """
    digest = hashlib.sha256(more.encode())
    for module in sorted(modules(entries, without)):
        digest.update(f"{Path(module).name}\n{_syntax(module)}\n".encode())
    return digest.hexdigest()[:12]


def modules(entries: Collection[str], without: Collection[str] = ()) -> set[str]:
    """The entries and all that they import, directly or not."""
    stops = {*PLUMBING, *without} - {*entries}
    found: set[str] = set()
    todo = list(entries)
    while todo:
        module = todo.pop()
        if module not in found and module not in stops:
            found.add(module)
            todo.extend(_imports(module))
    return found


@cache
def _imports(module: str) -> tuple[str, ...]:
    return tuple(_named(_parsed(module)))


def _named(tree: ast.Module) -> Iterator[str]:
    """Modules of the package in a tree's import statements, wherever these stand."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if _file(alias.name))
        elif isinstance(node, ast.ImportFrom) and node.module and _file(node.module):
            for name in (alias.name for alias in node.names):
                inner = f"{node.module}.{name}"
                yield inner if _file(inner) else node.module
                if inner == BUILDER:
                    yield from (model.module for model in MODELS.values())


def _file(module: str) -> Path | None:
    path = LIBRARY.parent / module.replace(".", "/")
    choices = (path.with_suffix(".py"), path / "__init__.py")
    return next((file for file in choices if file.is_file()), None)


@cache
def _syntax(module: str) -> str:
    tree = _parsed(module)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and _is_docstring(body[0]):
            node.body = body[1:]  # type: ignore[attr-defined]
    return ast.unparse(tree)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _parsed(module: str) -> ast.Module:
    if module.endswith(".ipynb"):
        cells = json.loads(Path(module).read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        return ast.parse("\n".join(code))
    file = _file(module)
    if file is None:
        raise ValueError(f"{module}: no such module of this package")
    return ast.parse(file.read_text(encoding="utf-8"))
