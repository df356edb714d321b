"""The tables in results/ that are computed from others there."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from spineseg.evaluation.result_files import (
    AUDIT,
    COMPARISON,
    CONVEXITY,
    COST,
    CURVES,
    FAILURES,
    NOISE,
    NOISE_CURVES,
    RUNS,
    SCORES,
    SUMMARY,
    TABLE2,
    TABLE3,
    TABLE4,
    VERDICTS,
    ResultTable,
)
from spineseg.evaluation.statistics import failures
from spineseg.evaluation.summary import summarise
from spineseg.experiment import Experiment
from spineseg.paper import consistency, printed, tables
from spineseg.paper.verdicts import Measured, judge
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.workflow.gather import REMAKE


@dataclass(frozen=True)
class Derived:
    """`make(experiment, *sources)` computes a table from others."""

    sources: tuple[ResultTable, ...]
    make: Callable[..., pd.DataFrame]


def _summary(experiment: Experiment, scores: pd.DataFrame) -> pd.DataFrame:
    return summarise(scores)


def _failures(experiment: Experiment, scores: pd.DataFrame) -> pd.DataFrame:
    return failures(scores)


def _table2(experiment: Experiment, summary: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    table = tables.beside_table2(summary, scores)
    return experiment.stamp(table, tables.devices(table, summary))


def _table3(experiment: Experiment, summary: pd.DataFrame) -> pd.DataFrame:
    table = tables.beside_table3(summary)
    return experiment.stamp(table, tables.devices(table, summary))


def _table4(experiment: Experiment, cost: pd.DataFrame) -> pd.DataFrame:
    return experiment.stamp(tables.beside_table4(cost), cost["device"][0])


def _comparison(
    experiment: Experiment, scores: pd.DataFrame, summary: pd.DataFrame
) -> pd.DataFrame:
    table = tables.compare(scores)
    return experiment.stamp(table, tables.devices(table, summary))


def _noise_curves(
    experiment: Experiment, noise: pd.DataFrame, summary: pd.DataFrame
) -> pd.DataFrame:
    table = tables.noise_curves(noise)
    return experiment.stamp(table, tables.devices(table, summary))


def _verdicts(experiment: Experiment, *sources: pd.DataFrame) -> pd.DataFrame:
    return experiment.stamp(judge(Measured(*sources)))


def _convexity(experiment: Experiment) -> pd.DataFrame:
    return experiment.stamp(consistency.convexity(printed.table3()))


def _audit(experiment: Experiment) -> pd.DataFrame:
    paper = printed.table1(), printed.table2(), printed.table3(), printed.table4(), printed.stated()
    return experiment.stamp(consistency.summary(*paper))


# Sources come before the tables that are computed from them.
DERIVED = {
    SUMMARY: Derived((SCORES,), _summary),
    FAILURES: Derived((SCORES,), _failures),
    TABLE2: Derived((SUMMARY, SCORES), _table2),
    TABLE3: Derived((SUMMARY,), _table3),
    TABLE4: Derived((COST,), _table4),
    COMPARISON: Derived((SCORES, SUMMARY), _comparison),
    NOISE_CURVES: Derived((NOISE, SUMMARY), _noise_curves),
    VERDICTS: Derived((SCORES, SUMMARY, CURVES, NOISE, COST), _verdicts),
    AUDIT: Derived((), _audit),
    CONVEXITY: Derived((), _convexity),
}


def derived_table(name: str) -> ResultTable:
    """The derived table of a file name. Raises UserError, which lists the known names."""
    for table in DERIVED:
        if table.name == name:
            return table
    remedy = f"choose from {', '.join(table.name for table in DERIVED)}"
    raise UserError.at(name, "no such table", remedy)


def compute(experiment: Experiment, table: ResultTable) -> pd.DataFrame:
    """Compute a derived table from the stored files of an experiment.

    Raises UserError if a source is missing.
    """
    if missing := missing_sources(experiment, table):
        names = ", ".join(source.name for source in missing)
        what = f"lacks {names}, from which {table.name} is computed"
        raise UserError.at(experiment.results, what, REMAKE)
    sources = (
        source.read(experiment.results, f"remove it and {REMAKE}", dtype={"note": str})
        for source in DERIVED[table].sources
    )
    return DERIVED[table].make(experiment, *sources)


def missing_sources(experiment: Experiment, table: ResultTable) -> Sequence[ResultTable]:
    """The sources of a derived table that are not stored."""
    sources = DERIVED[table].sources
    return [source for source in sources if not (experiment.results / source.name).is_file()]


def write_tables(experiment: Experiment) -> list[ResultTable]:
    """Write every derived table whose sources are stored, and return these tables.

    Raises UserError if no run was gathered yet.
    """
    if not (experiment.results / RUNS).is_file():
        raise UserError.at(experiment.results, "no results yet", REMAKE)
    written = []
    for table in DERIVED:
        if not missing_sources(experiment, table):
            write_csv(experiment.results / table.name, compute(experiment, table))
            written.append(table)
    return written


def read_table(experiment: Experiment, table: ResultTable) -> pd.DataFrame:
    """A stored table without the columns data, profile and device.

    Raises UserError if it is missing or damaged.
    """
    stored = table.read(experiment.results, REMAKE, dtype={"note": str})
    return stored.drop(columns=["data", "profile", "device"]).fillna({"note": ""})
