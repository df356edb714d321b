"""Writes the scores in README.md from results/; `--check` only tells whether they are current."""

import sys

import pandas as pd

from spineseg import paper
from spineseg.labels import FOREGROUND
from spineseg.paths import REPOSITORY

README = REPOSITORY / "README.md"
START, END = "<!-- scores: written by tools/update_readme.py -->", "<!-- end of scores -->"
CLASSES = [*FOREGROUND, "mean"]
STUDIES = {
    "phantom-quick": "phantom, 34 of 172 held out",
    "real-t2-lumbar-quick": "eleven patients, cross-validated",
    "phantom-bodies-quick-on-real-t2-lumbar": "trained on phantoms alone, tested on the eleven",
}


def scores_table() -> str:
    """Mean DSC by class: the paper's row first, then one row for each summary in results/."""
    printed = paper.table3().query("model == 'ASPP-UNet' and metric == 'DSC'")
    rows = [
        _row(
            "**paper**: 172 patients, five folds; K80",
            printed.set_index("class")["mean"] / 100,
            "172",
        )
    ]
    for study, words in STUDIES.items():
        summary = pd.read_csv(REPOSITORY / "results" / study / "summary.csv")
        summary = summary.query("aggregation == 'volume' and metric == 'DSC'")
        first = summary.iloc[0]
        name = f"ours: {words}; {first['profile']}, {first['device']}"
        rows.append(_row(name, summary.set_index("class")["mean"], str(summary["cases"].max())))
    head = f"| mean DSC | {' | '.join(CLASSES)} | cases tested |"
    return "\n".join([head, "|---" * (len(CLASSES) + 2) + "|", *rows])


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
