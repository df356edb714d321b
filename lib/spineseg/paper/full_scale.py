"""Results at the paper's own scale, beside those of another experiment."""

import pandas as pd

from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.summary import common_runs, summarise
from spineseg.labels import ALL_CLASSES
from spineseg.methods import METHODS
from spineseg.paper.tables import compare, with_interval
from spineseg.utils import paths

PAPER_SCALE = "simulated*-paper*"  # folders in results/


def with_full_scale(own: pd.DataFrame, name: str) -> pd.DataFrame:
    """An experiment's table, followed by the same table of every paper-scale experiment.

    `own` has the columns data and profile, which tell the experiments apart. `name` is the file
    name of the table, such as "summary.csv". If `own` is itself at the paper's scale, it is not
    repeated.
    """
    known = set(_experiments(own))
    files = sorted((paths.root() / "results").glob(f"{PAPER_SCALE}/{name}"))
    others = [pd.read_csv(file) for file in files if file.parent.name not in known]
    return pd.concat([own, *others], ignore_index=True)


def mean_dsc_by_experiment(scores: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC over volumes and classes with its 95 % interval, in per cent, as text.

    `scores` holds the scores.csv of several experiments, see `with_full_scale`, restricted to the
    methods to compare. Of each experiment, the runs are used that its methods have in common.
    Returns one row per method and one column per experiment, in their order, titled with name,
    devices, and numbers of seeds and cases.
    """
    dice = scores.query("aggregation == 'volume' and metric == 'DSC'")
    columns = {}
    for name, rows in dice.groupby(_experiments(dice), sort=False):
        summary = summarise(common_runs(rows, METHODS))
        means = summary[summary["class"] == ALL_CLASSES].set_index("model")
        devices = device_names(rows["device"])
        seeds, cases = means["seeds"].max(), means["cases"].max()
        title = f"{name}, {devices}, seeds: {seeds}, cases: {cases}"
        percent = 100 * means[["mean", "low", "high"]]
        columns[title] = percent.apply(lambda row: with_interval(*row), axis=1)
    wide = pd.DataFrame(columns)
    order = [name for name in METHODS if name in wide.index]
    wide = wide.loc[order].rename(index={name: METHODS[name].title for name in order})
    return wide.fillna("not run").rename_axis(index="method", columns="experiment")


def leads_by_experiment(scores: pd.DataFrame) -> pd.DataFrame:
    """ASPP-UNet's lead over each other method, by experiment.

    `scores` holds the scores.csv of several experiments, see `with_full_scale`, restricted to the
    methods to compare. Returns the rows of `tables.compare`, after a column `experiment`.
    """
    experiments = scores.groupby(_experiments(scores), sort=False)
    leads = pd.concat(
        [compare(rows, list(METHODS)).assign(experiment=name) for name, rows in experiments],
        ignore_index=True,
    )
    return leads[["experiment", *leads.columns.drop("experiment")]]


def _experiments(table: pd.DataFrame) -> pd.Series:
    """The name of each row's experiment (`Experiment.name`)."""
    names = [
        f"{data}-{profile}" for data, profile in zip(table["data"], table["profile"], strict=True)
    ]
    return pd.Series(names, table.index, dtype=str)
