"""Results at the paper's own scale, beside those of another experiment."""

import pandas as pd

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


def mean_dsc_by_experiment(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC over volumes and classes with its 95 % interval, in per cent, as text.

    `summary` holds the summary.csv of several experiments, see `with_full_scale`. Returns one row
    per method and one column per experiment, in their order, titled with name and devices.
    """
    rows = summary.query("aggregation == 'volume' and metric == 'DSC'")
    rows = rows[rows["class"] == ALL_CLASSES].assign(experiment=_experiments(rows))
    devices = rows.groupby("experiment")["device"].agg(lambda names: "; ".join(sorted(set(names))))
    rows["column"] = rows["experiment"] + ", " + rows["experiment"].map(devices)
    percent = 100 * rows[["mean", "low", "high"]]
    rows["cell"] = [with_interval(*row) for row in percent.itertuples(index=False)]
    wide = rows.pivot(index="model", columns="column", values="cell")
    order = [name for name in METHODS if name in wide.index]
    titles = {name: METHODS[name].title for name in order}
    wide = wide.loc[order, rows["column"].unique()].rename(index=titles).fillna("not run")
    return wide.rename_axis(index="method", columns="experiment")


def leads_by_experiment(scores: pd.DataFrame) -> pd.DataFrame:
    """ASPP-UNet's lead over each other method that was scored, by experiment.

    `scores` holds the scores.csv of several experiments, see `with_full_scale`. Returns the rows of
    `tables.compare` for all methods, after a column `experiment`.
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
