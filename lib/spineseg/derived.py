"""The tables in results/ that follow from others there."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from spineseg import audit, paper, tables
from spineseg.claims import Measured, judge
from spineseg.files import write_csv
from spineseg.noise import NOISE
from spineseg.paths import COST
from spineseg.results import FAILURES, ResultsError
from spineseg.scores import CURVES, SCORES
from spineseg.statistics import failures
from spineseg.study import Study
from spineseg.summary import SUMMARY, summarise


@dataclass(frozen=True)
class Derived:
    """How one table follows from those named `sources`, which `make` takes in that order."""

    sources: tuple[str, ...]
    make: Callable[..., pd.DataFrame]


def _summary(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    return summarise(scores)


def _failures(study: Study, scores: pd.DataFrame) -> pd.DataFrame:
    return failures(scores)


def _table2(study: Study, summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    table = tables.beside_table2(summary, scores)
    return study.stamp(table, tables.devices(table, summary))


def _table3(study: Study, summary: pd.DataFrame) -> pd.DataFrame:
    table = tables.beside_table3(summary)
    return study.stamp(table, tables.devices(table, summary))


def _table4(study: Study, cost: pd.DataFrame) -> pd.DataFrame:
    from spineseg.cost import beside_table4

    return study.stamp(beside_table4(cost), cost["device"][0])


def _comparison(study: Study, scores: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    table = tables.compare(scores)
    return study.stamp(table, tables.devices(table, summary))


def _noise_curves(study: Study, noise: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
    table = tables.noise_curves(noise)
    return study.stamp(table, tables.devices(table, summary))


def _claims(study: Study, *sources: pd.DataFrame) -> pd.DataFrame:
    return study.stamp(judge(Measured(*sources)))


def _convexity(study: Study) -> pd.DataFrame:
    return study.stamp(audit.convexity(paper.table3()))


def _audit(study: Study) -> pd.DataFrame:
    printed = paper.table1(), paper.table2(), paper.table3(), paper.table4(), paper.claims()
    return study.stamp(audit.summary(*printed))


DERIVED = {
    SUMMARY: Derived((SCORES,), _summary),
    FAILURES: Derived((SCORES,), _failures),
    "table2.csv": Derived((SUMMARY, SCORES), _table2),
    "table3.csv": Derived((SUMMARY,), _table3),
    "table4.csv": Derived((COST,), _table4),
    "comparison.csv": Derived((SCORES, SUMMARY), _comparison),
    "noise_curves.csv": Derived((NOISE, SUMMARY), _noise_curves),
    "claims.csv": Derived((SCORES, SUMMARY, CURVES, NOISE, COST), _claims),
    "audit.csv": Derived((), _audit),
    "audit_convexity.csv": Derived((), _convexity),
}


def derive(study: Study, name: str) -> pd.DataFrame:
    """The table of that file name, made from the stored files that it follows from.

    Raises ResultsError for an unknown name and for sources that are missing.
    """
    if name not in DERIVED:
        raise ResultsError(f"{name}: no such table; choose from {', '.join(DERIVED)}")
    how = DERIVED[name]
    if missing := [source for source in how.sources if not (study.results / source).is_file()]:
        raise ResultsError(
            f"{study.results}: lacks {', '.join(missing)}, from which {name} follows; "
            "run `make reproduce` with this data and profile"
        )
    paths = (study.results / source for source in how.sources)
    return how.make(study, *(pd.read_csv(path, dtype={"note": str}) for path in paths))


def write_derived(study: Study, name: str) -> pd.DataFrame:
    """Make a table and write it into results/<study>/; returns it without the study's stamp."""
    table = derive(study, name)
    write_csv(study.results / name, table)
    return table.drop(columns=["data", "profile", "device"])
