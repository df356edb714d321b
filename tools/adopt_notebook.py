"""Copy the outputs of executed notebooks into the committed ones, without timing and paths.

python tools/adopt_notebook.py FOLDER NOTEBOOK...    # FOLDER holds papermill's copies
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds


def adopt(executed: Path, committed: Path) -> None:
    """Copy outputs and execution counts; SystemExit if a cell differs or was not run."""
    new, old = (nbformat.read(path, as_version=4) for path in (executed, committed))
    cells = [cell for cell in new.cells if INJECTED not in cell.metadata.get("tags", [])]
    if len(cells) != len(old.cells):
        raise SystemExit(f"{committed}: has other cells than {executed}")
    pairs = [pair for pair in zip(old.cells, cells, strict=True) if pair[0].cell_type == "code"]
    for count, (cell, ran) in enumerate(pairs, start=1):
        if cell.source != ran.source:
            raise SystemExit(f"{committed}: cell {cell.id} changed since {executed} was executed")
        if ran.execution_count is None and ran.source.strip():
            raise SystemExit(f"{executed}: cell {cell.id} was not run")
        cell.outputs = joined(each for each in ran.outputs if each.get("name") != "stderr")
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    nbformat.write(old, committed)


def joined(outputs: Iterable[NotebookNode]) -> list[NotebookNode]:
    """The outputs with texts in one piece: a kernel may send a printed line in two."""
    kept: list[NotebookNode] = []
    for output in outputs:
        last = kept[-1] if kept else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            kept.append(NotebookNode(output))
    return kept


if __name__ == "__main__":
    folder, *notebooks = map(Path, sys.argv[1:])
    for notebook in notebooks:
        adopt(folder / notebook.name, notebook)
