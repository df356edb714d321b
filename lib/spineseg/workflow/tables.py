"""The tables in results/ that follow from others there."""

from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from spineseg.evaluation.noise import NOISE
from spineseg.evaluation.scores import CURVES, SCORES
from spineseg.evaluation.statistics import failures
from spineseg.evaluation.summary import SUMMARY, summarise
from spineseg.experiment import Experiment
from spineseg.paper.printed import consistency as audit
from spineseg.paper.printed import printed as paper
from spineseg.paper.printed import tables
from spineseg.paper.verdicts import Measured, judge
from spineseg.utils.files import write_csv
from spineseg.utils.paths import COST
from spineseg.workflow.gather import FAILURES, ResultsError


@dataclass(frozen=True)
class Derived:
    """How one table follows from those named `sources`, which `make` takes in that order."""

    sources: tuple[str, ...]
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
    from spineseg.benchmark.cost import beside_table4

    return experiment.stamp(beside_table4(cost), cost["device"][0])


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


def _claims(experiment: Experiment, *sources: pd.DataFrame) -> pd.DataFrame:
    return experiment.stamp(judge(Measured(*sources)))


def _convexity(experiment: Experiment) -> pd.DataFrame:
    return experiment.stamp(audit.convexity(paper.table3()))


def _audit(experiment: Experiment) -> pd.DataFrame:
    printed = paper.table1(), paper.table2(), paper.table3(), paper.table4(), paper.claims()
    return experiment.stamp(audit.summary(*printed))


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


def derive(experiment: Experiment, name: str) -> pd.DataFrame:
    """The table of that file name, made from the stored files that it follows from.

    Raises ResultsError for an unknown name and for sources that are missing.
    """
    if name not in DERIVED:
        raise ResultsError(f"{name}: no such table; choose from {', '.join(DERIVED)}")
    how = DERIVED[name]
    if missing := [source for source in how.sources if not (experiment.results / source).is_file()]:
        raise ResultsError(
            f"{experiment.results}: lacks {', '.join(missing)}, from which {name} follows; "
            "run `make reproduce` with this data and profile"
        )
    paths = (experiment.results / source for source in how.sources)
    return how.make(experiment, *(pd.read_csv(path, dtype={"note": str}) for path in paths))


def write_derived(experiment: Experiment, name: str) -> pd.DataFrame:
    """Make a table and write it into results/<experiment>/; returns it without the experiment's stamp."""
    table = derive(experiment, name)
    write_csv(experiment.results / name, table)
    return table.drop(columns=["data", "profile", "device"])
