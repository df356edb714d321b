"""Takes an executed notebook over as the one to commit: outputs and counts, no timing, no paths."""

import sys
from pathlib import Path

import nbformat


def adopt(executed: Path, committed: Path) -> None:
    """Copy outputs and execution counts of papermill's copy into the committed notebook."""
    new, old = (nbformat.read(path, as_version=4) for path in (executed, committed))
    injected = "injected-parameters"
    cells = [cell for cell in new.cells if injected not in cell.metadata.get("tags", [])]
    for count, (cell, ran) in enumerate(
        ((c, r) for c, r in zip(old.cells, cells, strict=True) if c.cell_type == "code"), start=1
    ):
        if cell.source != ran.source:
            raise SystemExit(f"{committed}: cell {cell.id} changed since {executed} was executed")
        cell.outputs = [out for out in ran.outputs if out.get("name") != "stderr"]
        cell.execution_count = count
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count
    nbformat.write(old, committed)


if __name__ == "__main__":
    folder, *notebooks = map(Path, sys.argv[1:])
    for notebook in notebooks:
        adopt(folder / notebook.name, notebook)
