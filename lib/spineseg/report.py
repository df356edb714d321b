"""A finished study for readers: one HTML page of all its notebooks, times, provenance."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spineseg import methods, provenance
from spineseg.files import read_json, whole_file, write_csv
from spineseg.results import check_results, read_runs
from spineseg.study import Study
from spineseg.summary import MEAN, SUMMARY

if TYPE_CHECKING:
    from nbformat import NotebookNode

TIMES = "times.csv"
REPORT = "report.html"


def report(study: Study) -> str:
    """Write times.csv and provenance.json into results/<study>/ and report.html into runs/<study>/.

    Returns the closing lines of a reproduction: mean scores, time, and where things lie. Raises
    ResultsError when the results are incomplete or of another study.
    """
    check_results(study)
    runs = read_runs(study)
    write_times(study)
    devices = "; ".join(sorted({run["device"] for run in runs}))
    provenance.record(study.results, provenance.origin_of(study, runs), devices)
    summary = summary_text(study)
    write_report(study, summary, devices)
    return summary


def write_times(study: Study) -> None:
    """Write times.csv: seconds that each run trained and each notebook took (papermill's count)."""
    rows = [
        {"step": f"train {run['model']} fold {run['fold']}", "seconds": run["training_seconds"]}
        for run in read_runs(study)
    ]
    for notebook in _notebooks(study):
        seconds = read_json(notebook)["metadata"]["papermill"]["duration"]
        if seconds is not None:  # it is not running just now
            rows.append({"step": notebook.stem, "seconds": round(seconds, 1)})
    write_csv(study.results / TIMES, study.stamp(pd.DataFrame(rows)))


def summary_text(study: Study) -> str:
    """Mean scores, time, and where things lie."""
    summary = pd.read_csv(study.results / SUMMARY)
    means = summary[(summary["aggregation"] == "volume") & (summary["class"] == MEAN)]
    table = means.pivot_table("mean", "model", "metric", sort=False)
    runs = read_runs(study)
    minutes = sum(run["training_seconds"] for run in runs) / 60
    places = {
        "report": study.runs / REPORT,
        "results": study.results,
        "figures": study.figures,
        "notebooks": study.runs / "notebooks",
        "runs": study.runs,
    }
    return "\n".join(
        [
            f"{study.name}: {means['cases'].max()} held-out cases, means over cases and classes "
            "(HD95 in mm)",
            table.rename(index=methods.TITLES).round(3).to_string(),
            f"{len(runs)} runs trained for {minutes:.1f} minutes in all",
            *(f"{what:<10}{folder}" for what, folder in places.items()),
        ]
    )


def write_report(study: Study, summary: str, devices: str) -> None:
    """Write runs/<study>/report.html: the summary, then every executed notebook, images inside."""
    import nbformat
    from nbconvert import HTMLExporter
    from nbformat.v4 import new_markdown_cell, new_notebook

    chapters = [nbformat.read(path, as_version=4) for path in _notebooks(study)]
    contents = [f"1. [{_title(chapter)}](#{_anchor(n)})" for n, chapter in enumerate(chapters, 1)]
    origin = f"Made on {devices}, from commit {provenance.commit()}."
    front = (f"# {study.name}", origin, f"```\n{summary}\n```", "\n".join(contents))
    cells = [new_markdown_cell("\n\n".join(front))]
    for number, chapter in enumerate(chapters, 1):
        cells += [new_markdown_cell(f'<a id="{_anchor(number)}"></a>'), *chapter.cells]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    exporter = HTMLExporter(embed_images=True)
    page, _ = exporter.from_notebook_node(
        new_notebook(cells=cells),
        resources={"metadata": {"name": study.name, "path": str(study.runs / "notebooks")}},
    )
    with whole_file(study.runs / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _notebooks(study: Study) -> list[Path]:
    return sorted((study.runs / "notebooks").glob("*.ipynb"))


def _title(chapter: NotebookNode) -> str:
    return chapter.cells[0].source.splitlines()[0].lstrip("# ").partition(" · ")[2]


def _anchor(number: int) -> str:
    return f"chapter-{number}"
