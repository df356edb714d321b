"""Whether stored tables are what the stored scores give, to the last digit."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from spineseg.experiment import Experiment
from spineseg.utils.files import CSV_FORMAT
from spineseg.workflow.gather import ResultsError
from spineseg.workflow.provenance import changed_files
from spineseg.workflow.tables import DERIVED, derive

SHOWN = 3  # differing cells told of a table


def verify(experiment: Experiment, tables: Sequence[str] = ()) -> Iterator[str]:
    """Recompute these tables (default: all), and those they rest on; a line for each that matches.

    Tables are compared as text, cell by cell, in the order in which they follow from each other.
    Raises ResultsError, naming each, where tables do not match or files are not those recorded.
    """
    names = [name if name.endswith(".csv") else f"{name}.csv" for name in tables]
    faults = [
        f"{experiment.results / name}: changed since it was recorded"
        for name in changed_files(experiment.results)
    ]
    for name in with_sources(names or list(DERIVED)):
        sources = ", ".join(DERIVED[name].sources) or "the printed tables"
        if cells := differences(experiment, name):
            more = f" and {len(cells) - SHOWN} more cells" if len(cells) > SHOWN else ""
            faults.append(f"{experiment.results / name}: {'; '.join(cells[:SHOWN])}{more}")
        else:
            yield f"{name}: matches to the last digit (from {sources})"
    if faults:
        raise ResultsError("\n".join(faults))


def with_sources(names: Sequence[str]) -> list[str]:
    """These tables and the derived ones that they rest on, sources first.

    Raises ResultsError for an unknown name.
    """
    if unknown := sorted(set(names) - set(DERIVED)):
        raise ResultsError(f"{', '.join(unknown)}: no such table; choose from {', '.join(DERIVED)}")
    wanted = set(names)
    for name in names:
        wanted |= set(DERIVED[name].sources) & set(DERIVED)
    return [name for name in DERIVED if name in wanted]


def differences(experiment: Experiment, name: str) -> list[str]:
    """The cells in which a stored table is not what its sources give.

    Each is `row …, column: stored …, recomputed …`. Raises ResultsError for a table that is not
    stored.
    """
    path = experiment.results / name
    if not path.is_file():
        raise ResultsError(f"{path}: does not exist; run `make reproduce` with this data")
    stored = _as_text(path)
    wanted = _as_text(io.StringIO(derive(experiment, name).to_csv(**CSV_FORMAT)))
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
