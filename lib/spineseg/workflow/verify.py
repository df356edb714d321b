"""Check that stored tables are what the stored scores give, to the last digit."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from spineseg.evaluation.provenance import changed_files
from spineseg.evaluation.result_files import ResultTable
from spineseg.experiment import Experiment
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import CSV_FORMAT
from spineseg.workflow.gather import REMAKE, read_runs
from spineseg.workflow.tables import DERIVED, compute, derived_table, source_names, stored_tables

SHOWN = 3  # differing cells named per table
TABULATE = "run `spineseg tables` with this data and profile"
RESTORE = f"restore it with git, or {REMAKE}"


def verify(experiment: Experiment, tables: Sequence[str] = ()) -> Iterator[str]:
    """Recompute these tables (default: all) and their derived sources; yields a line per match.

    Tables are compared as text, cell by cell, sources first. Raises UserError, which names each, if
    tables do not match or files are not those recorded.
    """
    names = [name if name.endswith(".csv") else f"{name}.csv" for name in tables]
    read_runs(experiment)  # tells that there are no results, before what their folder lacks
    changed = changed_files(experiment.results)
    remedy = RESTORE if set(changed) - {table.name for table in DERIVED} else TABULATE
    problems = [Problem(experiment.results / name, what, remedy) for name, what in changed.items()]
    chosen = [derived_table(name) for name in names] or stored_tables(experiment)
    for table in with_sources(chosen, experiment):
        try:
            cells = differences(experiment, table)
        except UserError as error:
            problems += error.problems
            continue
        if cells:
            more = f" and {len(cells) - SHOWN} more cells" if len(cells) > SHOWN else ""
            what = f"{', '.join(cells[:SHOWN])}{more}"
            problems.append(Problem(experiment.results / table.name, what, remedy))
        else:
            yield f"{table.name}: matches to the last digit (from {source_names(table)})"
    if problems:
        raise UserError(*problems)


def with_sources(tables: Sequence[ResultTable], experiment: Experiment) -> list[ResultTable]:
    """These tables and the stored ones that they are computed from, sources first."""
    stored = set(stored_tables(experiment))
    wanted = set(tables)
    for table in reversed(DERIVED):  # sources come after the tables that are computed from them
        if table in wanted:
            wanted |= set(DERIVED[table].all_sources) & stored
    return [table for table in DERIVED if table in wanted]


def differences(experiment: Experiment, table: ResultTable) -> list[str]:
    """The cells in which a stored table is not what its sources give.

    Each is `row …, column: stored …, recomputed …`. Raises UserError if the table is not stored, or
    cannot be computed from its sources.
    """
    path = experiment.results / table.name
    if not path.is_file():
        tables = stored_tables(experiment)
        if table not in tables:
            names = ", ".join(each.name for each in tables)
            what = "does not follow from the results in its folder"
            raise UserError.at(path, what, f"choose from {names}")
        raise UserError.at(path, "does not exist", TABULATE)
    stored = _as_text(path)
    wanted = _as_text(io.StringIO(compute(experiment, table).to_csv(**CSV_FORMAT)))
    if list(stored.columns) != list(wanted.columns):
        return [f"columns: stored {[*stored.columns]}, recomputed {[*wanted.columns]}"]
    if len(stored) != len(wanted):
        return [f"stored {len(stored)} rows, recomputed {len(wanted)}"]
    rows, columns = (stored.to_numpy() != wanted.to_numpy()).nonzero()
    return [
        f"row {row + 1}, {wanted.columns[column]}: stored {stored.iloc[row, column]!s}, "
        f"recomputed {wanted.iloc[row, column]!s}"
        for row, column in zip(rows, columns, strict=True)
    ]


def _as_text(source: Path | io.StringIO) -> pd.DataFrame:
    return pd.read_csv(source, dtype=str, keep_default_na=False)
