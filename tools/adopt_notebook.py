"""Copy the outputs of executed notebooks into the committed ones, without timing and paths.

python tools/adopt_notebook.py FOLDER NOTEBOOK...    # FOLDER holds papermill's copies
"""

import sys
from pathlib import Path

import nbformat

INJECTED = "injected-parameters"  # papermill's tag of the cell that it adds


def adopt(executed: Path, committed: Path) -> None:
    """Copy outputs and execution counts; SystemExit if a cell's source differs."""
    new, old = (nbformat.read(path, as_version=4) for path in (executed, committed))
    cells = [cell for cell in new.cells if INJECTED not in cell.metadata.get("tags", [])]
    pairs = [pair for pair in zip(old.cells, cells, strict=True) if pair[0].cell_type == "code"]
    for count, (cell, ran) in enumerate(pairs, start=1):
        if cell.source != ran.source:
            raise SystemExit(f"{committed}: cell {cell.id} changed since {executed} was executed")
        cell.outputs = [output for output in ran.outputs if output.get("name") != "stderr"]
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    nbformat.write(old, committed)


if __name__ == "__main__":
    folder, *notebooks = map(Path, sys.argv[1:])
    for notebook in notebooks:
        adopt(folder / notebook.name, notebook)
