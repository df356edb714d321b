"""Nothing waits for the import of a large package before it needs one."""

import ast
import json
import subprocess
import sys

from spineseg.utils.paths import REPOSITORY

LATER = ["lightning_fabric", "monai", "sklearn", "nbconvert", "nbformat"]
HEAVY = ["torch", *LATER]
LIGHT = (
    *("cli", "experiment", "fingerprint", "labels", "methods", "models", "profiles", "runs"),
    *("data.check", "data.convert", "data.dicom", "data.layouts", "data.overview"),
    *("data.prepare", "data.preprocess", "data.splits", "data.volume", "phantom"),
    *("evaluation.metrics", "evaluation.noise", "evaluation.provenance", "evaluation.scores"),
    *("evaluation.statistics", "evaluation.summary", "evaluation.surface", "figures"),
    *("inference.segmenter", "paper.consistency", "paper.findings", "paper.mechanism"),
    *("paper.printed", "paper.search", "paper.tables", "paper.verdicts", "utils.files"),
    *("utils.paths", "utils.progress", "workflow.compare", "workflow.gather", "workflow.graph"),
    *("workflow.report", "workflow.score", "workflow.study", "workflow.study_results"),
    *("workflow.tables", "workflow.train", "workflow.verify"),
)
PROBE = """
import json, sys
steps, heavy = json.load(sys.stdin)
loaded = {}
for name, imports in steps.items():
    exec(imports)
    loaded[name] = [module for module in heavy if module in sys.modules]
print(json.dumps(loaded))
"""


def loaded_after(steps: dict[str, str], heavy: list[str]) -> dict[str, list[str]]:
    """Which of the `heavy` packages are there after each step of imports, in one new process."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE],
        input=json.dumps([steps, heavy]),
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def imports_of(notebook) -> str:
    """The import statements of a notebook's cells."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = "\n".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "code")
    found = [n for n in ast.parse(code).body if isinstance(n, ast.Import | ast.ImportFrom)]
    return "\n".join(map(ast.unparse, found))


def test_modules_without_networks_do_not_import_torch():
    steps = {name: f"import spineseg.{name}" for name in LIGHT}
    assert loaded_after(steps, HEAVY) == {name: [] for name in LIGHT}


# They show stored results. The other lessons train, predict or read scans themselves.
READERS = ("00_start", "05_ablation", "06_baselines", "10_audit", "11_verdicts", "A2_speed")


def test_imports_of_lessons_on_stored_results_leave_out_what_only_training_needs():
    """Torch may come, because these lessons count what networks hold."""
    steps = {name: imports_of(REPOSITORY / "notebooks" / f"{name}.ipynb") for name in READERS}
    assert all("spineseg" in imports for imports in steps.values())
    assert loaded_after(steps, LATER) == {name: [] for name in steps}
