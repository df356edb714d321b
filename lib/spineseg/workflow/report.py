"""A finished experiment for readers: one HTML page of all its notebooks, times, provenance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spineseg import methods
from spineseg.evaluation.summary import MEAN, SUMMARY
from spineseg.experiment import Experiment
from spineseg.utils.files import atomic_write, read_json, write_csv
from spineseg.workflow import provenance
from spineseg.workflow.gather import check_results, read_runs

if TYPE_CHECKING:
    from nbformat import NotebookNode

TIMES = "times.csv"
REPORT = "report.html"


def report(experiment: Experiment) -> str:
    """Write times.csv and provenance.json into results/<experiment>/ and report.html into runs/<experiment>/.

    Returns the closing lines of a reproduction: mean scores, time, and where things lie. Raises
    ResultsError when the results are incomplete or of another experiment.
    """
    check_results(experiment)
    runs = read_runs(experiment)
    write_times(experiment)
    devices = "; ".join(sorted({run["device"] for run in runs}))
    provenance.record(experiment.results, provenance.origin_of(experiment, runs), devices)
    summary = summary_text(experiment)
    write_report(experiment, summary, devices)
    return summary


def write_times(experiment: Experiment) -> None:
    """Write times.csv: seconds that each run trained and each notebook took (papermill's count)."""
    rows = [
        {"step": f"train {run['model']} fold {run['fold']}", "seconds": run["training_seconds"]}
        for run in read_runs(experiment)
    ]
    for notebook in _notebooks(experiment):
        seconds = read_json(notebook)["metadata"]["papermill"]["duration"]
        if seconds is not None:  # it is not running just now
            rows.append({"step": notebook.stem, "seconds": round(seconds, 1)})
    write_csv(experiment.results / TIMES, experiment.stamp(pd.DataFrame(rows)))


def summary_text(experiment: Experiment) -> str:
    """Mean scores, time, and where things lie."""
    summary = pd.read_csv(experiment.results / SUMMARY)
    means = summary[(summary["aggregation"] == "volume") & (summary["class"] == MEAN)]
    table = means.pivot_table("mean", "model", "metric", sort=False)
    runs = read_runs(experiment)
    minutes = sum(run["training_seconds"] for run in runs) / 60
    places = {
        "report": experiment.runs / REPORT,
        "results": experiment.results,
        "figures": experiment.figures,
        "notebooks": experiment.runs / "notebooks",
        "runs": experiment.runs,
    }
    return "\n".join(
        [
            f"{experiment.name}: {means['cases'].max()} held-out cases, means over cases and classes "
            "(HD95 in mm)",
            table.rename(index=methods.TITLES).round(3).to_string(),
            f"{len(runs)} runs trained for {minutes:.1f} minutes in all",
            *(f"{what:<10}{folder}" for what, folder in places.items()),
        ]
    )


def write_report(experiment: Experiment, summary: str, devices: str) -> None:
    """Write runs/<experiment>/report.html: the summary, then every executed notebook, images inside."""
    import nbformat
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_markdown_cell, new_notebook

    chapters = [nbformat.read(path, as_version=4) for path in _notebooks(experiment)]
    contents = [f"1. [{_title(chapter)}](#{_anchor(n)})" for n, chapter in enumerate(chapters, 1)]
    origin = f"Made on {devices}, from commit {provenance.commit()}."
    front = (f"# {experiment.name}", origin, f"```\n{summary}\n```", "\n".join(contents))
    cells = [new_markdown_cell("\n\n".join(front))]
    for number, chapter in enumerate(chapters, 1):
        cells += [new_markdown_cell(f'<a id="{_anchor(number)}"></a>'), *chapter.cells]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    exporter = HTMLExporter(embed_images=True)
    page, _ = exporter.from_notebook_node(
        new_notebook(cells=cells),
        resources={
            "metadata": {"name": experiment.name, "path": str(experiment.runs / "notebooks")}
        },
    )
    with atomic_write(experiment.runs / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _notebooks(experiment: Experiment) -> list[Path]:
    return sorted((experiment.runs / "notebooks").glob("*.ipynb"))


def _title(chapter: NotebookNode) -> str:
    return chapter.cells[0].source.splitlines()[0].lstrip("# ").partition(" · ")[2]


def _anchor(number: int) -> str:
    return f"chapter-{number}"
