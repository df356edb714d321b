"""Start-up times: the command's help, imports, and the imports of each notebook."""

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import nbformat

from spineseg.benchmark.timing import time_interleaved
from spineseg.utils import paths

IMPORTS = (
    "spineseg",
    "spineseg.experiment",
    "spineseg.workflow.gather",
    "spineseg.figures",
    "spineseg.training.loop",
)
ROUNDS = 3


def of_command() -> list[dict[str, Any]]:
    """The time of `spineseg --help`."""
    return _time_python("spineseg --help", ["-m", "spineseg.cli", "--help"])


def of_import(module: str) -> list[dict[str, Any]]:
    """The time to import one module with all that it imports."""
    return _time_python(f"import {module}", ["-c", f"import {module}"])


def of_notebook(name: str) -> list[dict[str, Any]]:
    """The time of the imports of a notebook."""
    cells = nbformat.read(paths.REPOSITORY / "notebooks" / name, as_version=4).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    statements = ast.parse(source).body
    imports = [ast.unparse(s) for s in statements if isinstance(s, ast.Import | ast.ImportFrom)]
    return _time_python(f"imports of notebook {name[:2]}", ["-c", "\n".join(imports)])


def _time_python(what: str, arguments: list[str]) -> list[dict[str, Any]]:
    """Seconds of a Python process from its start to its end."""
    command = [sys.executable, *arguments]
    works = {what: lambda: subprocess.run(command, check=True, capture_output=True)}
    found = time_interleaved(works, budget=60, rounds=ROUNDS)[what]
    return [{"what": what, "rounds": found["rounds"], "seconds": found["seconds"]}]


def measurements() -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    yield of_command, ()
    for module in IMPORTS:
        yield of_import, (module,)
    for path in sorted((paths.REPOSITORY / "notebooks").glob("*.ipynb")):
        yield of_notebook, (path.name,)
