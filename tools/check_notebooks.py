"""Refuse notebooks that hold widget state or code cells that were not run."""

import json
import sys
from pathlib import Path


def faults(notebook: dict) -> list[str]:
    """What is wrong with a notebook, given as parsed JSON; one line per fault."""
    found = []
    if "widgets" in notebook["metadata"]:
        found.append("widget state in the metadata")
    for number, cell in enumerate(notebook["cells"], start=1):
        if cell["cell_type"] != "code" or not "".join(cell["source"]).strip():
            continue
        if cell["execution_count"] is None:
            found.append(f"cell {number} was not run")
        if any("widget-view" in kind for out in cell["outputs"] for kind in out.get("data", {})):
            found.append(f"cell {number} shows a widget")
    return found


if __name__ == "__main__":
    lines = [
        f"{path}: {fault}"
        for path in sys.argv[1:]
        for fault in faults(json.loads(Path(path).read_text(encoding="utf-8")))
    ]
    print("\n".join(lines), end="\n" if lines else "")
    sys.exit(bool(lines))
