"""The tables in results/ that are computed from others there."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import pandas as pd

from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.result_files import (
    AUDIT,
    CEILING,
    COMPARISON,
    CONVERGENCE,
    CONVEXITY,
    COST,
    CURVES,
    FAILURES,
    FIVE_FOLDS,
    NOISE,
    NOISE_CURVES,
    SCORES,
    SEARCH,
    SUMMARY,
    TABLE2,
    TABLE3,
    TABLE4,
    VALIDATION_SCORES,
    VERDICTS,
    ResultTable,
)
from spineseg.evaluation.summary import common_runs, failures, summarise
from spineseg.experiment import Experiment
from spineseg.methods import (
    ABLATION_METHODS,
    NNUNET,
    NOISE_METHODS,
    PLAIN,
    PROPOSED,
    TABLE3_METHODS,
)
from spineseg.paper import consistency, printed, tables
from spineseg.paper.search import SETTING, convergence_table, search_table
from spineseg.paper.verdicts import Measured, judge
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.workflow.gather import REMAKE, read_runs, results_of, trained_profile

# With three stages there is no position 4, so that U-Net-2D and ASPP-UNet alone make no Table 2.
ROWS_OF_TABLE2 = tuple(name for name in ABLATION_METHODS if name not in TABLE3_METHODS)


@dataclass(frozen=True)
class Derived:
    """`make(experiment, *sources, *optional)` computes a table from others.

    An optional source that is not stored is passed as an empty table. The table is computed only if
    one of the methods `about` was run; none given: in any case.
    """

    sources: tuple[ResultTable, ...]
    make: Callable[..., pd.DataFrame]
    optional: tuple[ResultTable, ...] = ()
    about: tuple[str, ...] = ()

    @property
    def all_sources(self) -> tuple[ResultTable, ...]:
        return *self.sources, *self.optional


def _summary(experiment: Experiment, scores: pd.DataFrame) -> pd.DataFrame:
    return summarise(common_runs(scores, scores["model"].unique()))


def _failures(experiment: Experiment, scores: pd.DataFrame) -> pd.DataFrame:
    return failures(scores)


def _search(experiment: Experiment, validation: pd.DataFrame) -> pd.DataFrame:
    taken = {}
    for name, tried in validation.groupby("model"):
        tuned = experiment.profile.tuned(str(name))
        rate = tried["learning_rate"].iloc[0] if name == NNUNET else tuned.learning_rate
        taken[str(name)] = (rate, experiment.epochs(str(name)))
    table = search_table(validation, taken)
    devices = validation.groupby(SETTING)["device"].agg(device_names)
    return experiment.stamp(table, table.join(devices, on=SETTING)["device"])


def _by_device(make: Callable[[pd.DataFrame], pd.DataFrame]) -> Callable[..., pd.DataFrame]:
    """`make` of a source, with the device of the method of each row."""

    def table(experiment: Experiment, source: pd.DataFrame, summary: pd.DataFrame) -> pd.DataFrame:
        made = make(source)
        return experiment.stamp(made, tables.devices(made, summary))

    return table


def _convergence(
    experiment: Experiment, search: pd.DataFrame, validation: pd.DataFrame
) -> pd.DataFrame:
    table = convergence_table(search, validation)
    devices = [
        _devices_of_trials(validation, model, [epochs, 2 * epochs])
        for model, epochs in zip(table["model"], table["epochs"], strict=True)
    ]
    return experiment.stamp(table, pd.Series(devices, dtype=object))


def _devices_of_trials(validation: pd.DataFrame, model: str, epochs: Sequence[int]) -> str:
    """The devices of a method's trials of these numbers of epochs."""
    tried = validation[(validation["model"] == model) & validation["epochs"].isin(epochs)]
    return device_names(tried["device"])


def _table4(experiment: Experiment, cost: pd.DataFrame) -> pd.DataFrame:
    return experiment.stamp(tables.beside_table4(cost), device_names(cost["device"]))


def _five_folds(experiment: Experiment, scores: pd.DataFrame) -> pd.DataFrame:
    compared = scores["model"].isin([PLAIN, PROPOSED]) & (scores["seed"] == tables.SEED_OF_FOLDS)
    return experiment.stamp(tables.five_folds(scores), device_names(scores.loc[compared, "device"]))


def _verdicts(
    experiment: Experiment,
    scores: pd.DataFrame,
    curves: pd.DataFrame,
    noise: pd.DataFrame,
    cost: pd.DataFrame,
    convergence: pd.DataFrame,
    ceiling: pd.DataFrame,
) -> pd.DataFrame:
    from spineseg.models.receptive_field import rows_seen

    profile = trained_profile(experiment)
    size = rows_seen(profile.stages), profile.image_size
    measured = Measured(scores, curves, noise, cost, convergence, ceiling, *size)
    table = judge(measured)
    return experiment.stamp(table.drop(columns="device"), table["device"])


def _convexity(experiment: Experiment) -> pd.DataFrame:
    return experiment.stamp(consistency.convexity(printed.table3()))


def _audit(experiment: Experiment) -> pd.DataFrame:
    paper = printed.table1(), printed.table2(), printed.table3(), printed.table4(), printed.stated()
    return experiment.stamp(consistency.summary(*paper))


# Sources come before the tables that are computed from them.
DERIVED = {
    SUMMARY: Derived((SCORES,), _summary),
    FAILURES: Derived((SCORES,), _failures),
    SEARCH: Derived((VALIDATION_SCORES,), _search),
    CONVERGENCE: Derived((SEARCH, VALIDATION_SCORES), _convergence),
    TABLE2: Derived((SCORES, SUMMARY), _by_device(tables.beside_table2), about=ROWS_OF_TABLE2),
    TABLE3: Derived((SCORES, SUMMARY), _by_device(tables.beside_table3), about=TABLE3_METHODS),
    TABLE4: Derived((COST,), _table4),
    COMPARISON: Derived((SCORES, SUMMARY), _by_device(tables.compare), about=TABLE3_METHODS),
    FIVE_FOLDS: Derived((SCORES,), _five_folds, about=TABLE3_METHODS),
    NOISE_CURVES: Derived((NOISE, SUMMARY), _by_device(tables.noise_curves), about=NOISE_METHODS),
    VERDICTS: Derived(
        (SCORES, CURVES, NOISE),
        _verdicts,
        optional=(COST, CONVERGENCE, CEILING),
        about=TABLE3_METHODS,
    ),
    AUDIT: Derived((), _audit),
    CONVEXITY: Derived((), _convexity),
}


def derivable(stored: Collection[str], models: Collection[str]) -> list[ResultTable]:
    """The derived tables that follow from files of these names, if these methods were run."""
    names = set(stored) - {table.name for table in DERIVED}
    found = []
    for table, derived in DERIVED.items():
        concerned = not derived.about or set(derived.about) & set(models)
        if concerned and all(source.name in names for source in derived.sources):
            names.add(table.name)
            found.append(table)
    return found


def derived_table(name: str) -> ResultTable:
    """The derived table of a file name. Raises UserError, which lists the known names."""
    for table in DERIVED:
        if table.name == name:
            return table
    remedy = f"choose from {', '.join(table.name for table in DERIVED)}"
    raise UserError.at(name, "no such table", remedy)


def compute(experiment: Experiment, table: ResultTable) -> pd.DataFrame:
    """Compute a derived table from the stored files of an experiment.

    Raises UserError if a source is missing, and if the table cannot be computed from them.
    """
    if missing := missing_sources(experiment, table):
        names = ", ".join(source.name for source in missing)
        what = f"lacks {names}, from which {table.name} is computed"
        raise UserError.at(experiment.results, what, REMAKE)
    sources = [_read(experiment, source) for source in DERIVED[table].all_sources]
    try:
        return DERIVED[table].make(experiment, *sources)
    except UserError:
        raise
    except (LookupError, TypeError, ValueError) as error:  # what damaged sources lead to differs
        what = f"cannot be computed from {source_names(table)} ({error})"
        raise UserError.at(experiment.results / table.name, what, REMAKE) from None


def source_names(table: ResultTable) -> str:
    """What a derived table is computed from, in words."""
    names = ", ".join(source.name for source in DERIVED[table].all_sources)
    return names or "the printed tables"


def _read(experiment: Experiment, source: ResultTable) -> pd.DataFrame:
    """A stored source, or an empty table if it is an optional one that is not stored."""
    if not (experiment.results / source.name).is_file():
        return pd.DataFrame(columns=[*source.required, *source.optional])
    return source.read(experiment.results, f"remove it and {REMAKE}")


def missing_sources(experiment: Experiment, table: ResultTable) -> Sequence[ResultTable]:
    """The sources of a derived table that are not stored."""
    sources = DERIVED[table].sources
    return [source for source in sources if not (experiment.results / source.name).is_file()]


def write_tables(experiment: Experiment) -> list[ResultTable]:
    """Write every derived table whose sources are stored, and return these tables.

    Derived tables of runs that are no longer stored are removed. Raises UserError if no run was
    gathered yet, and if what was gathered is damaged.
    """
    results_of(experiment, derived=())
    tables = stored_tables(experiment)
    for table in tables:
        write_csv(experiment.results / table.name, compute(experiment, table))
    for table in DERIVED:
        if table not in tables:
            (experiment.results / table.name).unlink(missing_ok=True)
    return tables


def stored_tables(experiment: Experiment, *more: str) -> list[ResultTable]:
    """The derived tables that follow from the stored files of an experiment, and `more` files."""
    names = {path.name for path in experiment.results.iterdir()}
    models = {record.model for record in read_runs(experiment)}
    return derivable({*names, *more}, models)


def read_table(experiment: Experiment, table: ResultTable) -> pd.DataFrame:
    """A stored table without the columns data, profile and device.

    Raises UserError if it is missing or damaged.
    """
    stored = table.read(experiment.results, REMAKE)
    return stored.drop(columns=["data", "profile", "device"]).fillna({"note": ""})
