"""One HTML page of an experiment's notebooks, the times of all steps, and provenance."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.result_files import SUMMARY, TIMES
from spineseg.experiment import Experiment
from spineseg.labels import ALL_CLASSES
from spineseg.methods import METHODS
from spineseg.runs import RunRecord
from spineseg.utils.files import atomic_write, read_json, write_csv
from spineseg.utils.versions import commit
from spineseg.workflow.compare import read_verdict_lines
from spineseg.workflow.gather import read_runs, record_origin, results_of
from spineseg.workflow.notebooks import NOTEBOOKS

if TYPE_CHECKING:
    from nbformat import NotebookNode

REPORT = "report.html"


def report(experiment: Experiment) -> str:
    """Write times.csv and provenance.json into results/ and report.html into runs/<experiment>/.

    Returns the closing lines of a reproduction: mean scores, time, and where to find things. Raises
    UserError if the results are incomplete or of another experiment.
    """
    results_of(experiment)
    records = read_runs(experiment)
    write_times(experiment, records)
    record_origin(experiment)
    summary = summary_text(experiment, records)
    devices = device_names(record.device for record in records)
    commits = ", ".join(sorted({record.commit for record in records}))
    write_report(experiment, summary, f"The runs were trained on {devices}, from commit {commits}.")
    return summary


def write_times(experiment: Experiment, records: Sequence[RunRecord]) -> None:
    """Write times.csv: the seconds of each training and of each notebook (papermill's count)."""
    rows = [
        {"step": f"train {record.title}", "seconds": record.training_seconds} for record in records
    ]
    for notebook in _notebooks(experiment):
        seconds = read_json(notebook)["metadata"]["papermill"]["duration"]
        if seconds is not None:  # it is running now
            rows.append({"step": notebook.stem, "seconds": round(seconds, 1)})
    write_csv(experiment.results / TIMES.name, experiment.stamp(pd.DataFrame(rows)))


def summary_text(experiment: Experiment, records: Sequence[RunRecord]) -> str:
    """Mean scores, time, and where to find things."""
    summary = SUMMARY.read(experiment.results)
    means = summary[(summary["aggregation"] == "volume") & (summary["class"] == ALL_CLASSES)]
    table = means.pivot_table("mean", "model", "metric", sort=False)
    titles = {name: method.title for name, method in METHODS.items()}
    minutes = sum(record.training_seconds for record in records) / 60
    places = {
        "report": experiment.runs / REPORT,
        "results": experiment.results,
        "figures": experiment.figures,
        "notebooks": experiment.runs / "notebooks",
        "runs": experiment.runs,
    }
    return "\n".join(
        [
            f"{experiment.name}: means over seeds ({means['seeds'].max()}), test cases "
            f"({means['cases'].max()}) and classes, HD95 in mm",
            table.rename(index=titles).round(3).to_string(),
            f"{len(records)} runs, trained for {minutes:.1f} minutes in total",
            *read_verdict_lines(experiment),
            *(f"{what:<10}{folder}" for what, folder in places.items()),
        ]
    )


def write_report(experiment: Experiment, summary: str, origin: str) -> None:
    """Write runs/<experiment>/report.html: the summary and every executed notebook.

    `origin` says where the runs come from. The page loads nothing from elsewhere.
    """
    import nbformat
    from nbformat.v4 import new_markdown_cell, new_notebook

    from spineseg.workflow.page import page_of  # slow to import

    paths = _notebooks(experiment)
    anchors = {path.name: _anchor(n) for n, path in enumerate(paths, 1)}
    chapters = [nbformat.read(path, as_version=4) for path in paths]
    contents = [f"1. [{_title(chapter)}](#{_anchor(n)})" for n, chapter in enumerate(chapters, 1)]
    made = f"{origin} This page was made from commit {commit()}."
    front = (f"# {experiment.name}", made, f"```\n{summary}\n```", "\n".join(contents))
    cells = [new_markdown_cell("\n\n".join(front))]
    for number, chapter in enumerate(chapters, 1):
        cells += [new_markdown_cell(f'<a id="{_anchor(number)}"></a>'), *chapter.cells]
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
        if cell.cell_type == "markdown":
            cell.source = _within_page(cell.source, anchors)
    folder = str(experiment.runs / "notebooks")
    page = page_of(new_notebook(cells=cells), experiment.name, folder)
    with atomic_write(experiment.runs / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8", newline="\n")


def _notebooks(experiment: Experiment) -> list[Path]:
    paths = (experiment.runs / "notebooks" / f"{name}.ipynb" for name in NOTEBOOKS)
    return [path for path in paths if path.is_file()]


def _title(chapter: NotebookNode) -> str:
    return chapter.cells[0].source.splitlines()[0].lstrip("# ").rpartition(" · ")[2]


def _anchor(number: int) -> str:
    return f"chapter-{number}"


def _within_page(text: str, anchors: Mapping[str, str]) -> str:
    """Markdown whose links to other notebooks lead to their chapters, or to headings there."""

    def moved(link: re.Match[str]) -> str:
        notebook, heading = link.groups()
        return f"]({heading or '#' + anchors[notebook]})" if notebook in anchors else link[0]

    return re.sub(r"\]\((\w+\.ipynb)(#[^)\s]+)?\)", moved, text)
