"""Write the numbers in README.md and docs/ from results/.

With `--check`, write nothing; the exit code is 1 if a page is out of date.
"""

import sys
from argparse import ArgumentParser
from functools import partial

from tools.readme import tables
from tools.readme.notebooks import notebooks_table
from tools.readme.outcome import outcome
from tools.readme.what_came_out import what_came_out

from spineseg.course import course_plan
from spineseg.utils.paths import REPOSITORY

PAGES = {
    "README.md": {
        "outcome": outcome,
        "scores": tables.scores_table,
        "course": partial(course_plan, "notebooks/", minutes=False),
        "notebooks": notebooks_table,
    },
    "docs/findings.md": {
        "what-came-out": what_came_out,
        "behind-the-scores": tables.behind_the_scores,
        "mechanism": tables.mechanism_tables,
        "ablation": tables.ablation_table,
    },
    "docs/predict.md": {"bundled": tables.bundled_table},
    "docs/speed.md": {"speed": tables.speed_table},
    "docs/study.md": {
        "repaired": tables.repaired_table,
        "patients": tables.patients_table,
        "training-time": tables.training_time_table,
    },
    "docs/reliability.md": {"fuzz": tables.fuzz_table},
}


def updated(page: str) -> str:
    """The page with the numbers that are in results/ now."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    for name, table in PAGES[page].items():
        start, end = f"<!-- {name}: tools/readme -->", f"<!-- end of {name} -->"
        before, rest = text.split(start)
        text = f"{before}{start}\n{table()}\n{end}{rest.split(end)[1]}"
    return text


if __name__ == "__main__":
    parser = ArgumentParser(prog="python -m tools.readme", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    arguments = parser.parse_args()
    texts = {REPOSITORY / page: updated(page) for page in PAGES}
    if arguments.check:
        old = [str(page) for page, text in texts.items() if page.read_text("utf-8") != text]
        sys.exit(f"out of date: {', '.join(old)}; run `python -m tools.readme`" if old else 0)
    for page, text in texts.items():
        page.write_text(text, encoding="utf-8", newline="\n")
