"""The notebook hook lets clean notebooks pass and names what is wrong with others."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "check_notebooks.py"


def check(notebook: dict, folder: Path) -> subprocess.CompletedProcess:
    path = folder / "notebook.ipynb"
    path.write_text(json.dumps(notebook))
    return subprocess.run([sys.executable, TOOL, path], capture_output=True, text=True)


def executed() -> dict:
    output = nbformat.v4.new_output("display_data", {"text/plain": "1"})
    cell = nbformat.v4.new_code_cell("print(1)", execution_count=1, outputs=[output])
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), cell])


def test_an_executed_notebook_passes(tmp_path):
    result = check(executed(), tmp_path)
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (lambda nb: nb["metadata"].update(widgets={}), "widget state"),
        (lambda nb: nb["cells"][1].update(execution_count=None), "cell 2 was not run"),
        (
            lambda nb: nb["cells"][1]["outputs"][0]["data"].update(
                {"application/vnd.jupyter.widget-view+json": {}}
            ),
            "cell 2 shows a widget",
        ),
    ],
)
def test_a_fault_is_named(fault, message, tmp_path):
    notebook = executed()
    fault(notebook)
    result = check(notebook, tmp_path)
    assert result.returncode == 1
    assert message in result.stdout
