"""Writes the scores in README.md from results/; `--check` only tells whether they are current."""

import sys

import pandas as pd

from spineseg import paper
from spineseg.labels import FOREGROUND
from spineseg.paths import REPOSITORY

README = REPOSITORY / "README.md"
START, END = "<!-- scores: written by tools/update_readme.py -->", "<!-- end of scores -->"
CLASSES = [*FOREGROUND, "mean"]


def scores_table() -> str:
    """Mean DSC by class: the paper's row first, then one row for each summary in results/."""
    printed = paper.table3().query("model == 'ASPP-UNet' and metric == 'DSC'")
    rows = [_row("**paper**: 172 patients, full", printed.set_index("class")["mean"] / 100, "34")]
    for path in sorted((REPOSITORY / "results").glob("*-quick*/summary.csv")):
        summary = pd.read_csv(path).query("aggregation == 'volume' and metric == 'DSC'")
        name = f"ours: {_words(path.parent.name)}, {summary['device'].iloc[0]}"
        rows.append(_row(name, summary.set_index("class")["mean"], str(summary["cases"].max())))
    head = f"| mean DSC | {' | '.join(CLASSES)} | cases tested |"
    return "\n".join([head, "|---" * (len(CLASSES) + 2) + "|", *rows])


def _words(folder: str) -> str:
    trained, _, tested = folder.partition("-on-")
    data, profile = trained.rsplit("-", 1)
    return f"{data}, {profile}" + (f", tested on {tested}" if tested else "")


def _row(name: str, means: pd.Series, cases: str) -> str:
    cells = [f"{means[c]:.3f}" if c in means else "" for c in CLASSES]
    return f"| {name} | {' | '.join(cells)} | {cases} |"


def updated(text: str) -> str:
    before, rest = text.split(START)
    return f"{before}{START}\n{scores_table()}\n{END}{rest.split(END)[1]}"


if __name__ == "__main__":
    text = README.read_text()
    if "--check" in sys.argv[1:]:
        sys.exit(updated(text) != text)
    README.write_text(updated(text))
