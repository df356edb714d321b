"""Results at the paper's own scale (`spineseg full`), beside those of another experiment."""

import pandas as pd

from spineseg.evaluation.summary import MEAN
from spineseg.methods import METHODS, TITLES
from spineseg.paper.tables import compare
from spineseg.utils import paths

FULL = "phantom-full-*"


def beside(own: pd.DataFrame, name: str) -> pd.DataFrame:
    """An experiment's table of that file name, and below it those of all experiments at the paper's scale.

    `profile` and `device` tell them apart. Where there are none, it is the experiment's own alone.
    """
    found = sorted((paths.root() / "results").glob(f"{FULL}/{name}"))
    return pd.concat([own, *map(pd.read_csv, found)], ignore_index=True)


def means(summary: pd.DataFrame) -> pd.DataFrame:
    """Mean DSC over volumes and classes with its 95 % interval, per cent: a row a method, a column
    for each profile of `summary` (several summary.csv, see `beside`), in their order."""
    rows = summary.query("aggregation == 'volume' and metric == 'DSC'")
    rows = rows[rows["class"] == MEAN]
    devices = rows.groupby("profile")["device"].agg(lambda names: "; ".join(sorted(set(names))))
    columns = rows["profile"] + ", " + rows["profile"].map(devices)
    cells = [
        f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        for mean, low, high in zip(rows["mean"], rows["low"], rows["high"], strict=True)
    ]
    table = pd.DataFrame({"method": rows["model"], "where": columns, "cell": cells})
    wide = table.pivot(index="method", columns="where", values="cell")
    order = [name for name in METHODS if name in wide.index]
    return wide.loc[order, columns.unique()].rename(index=TITLES).fillna("not run")


def leads(scores: pd.DataFrame) -> pd.DataFrame:
    """How far ASPP-UNet is ahead of each other method that was scored, by profile.

    `scores` holds several scores.csv (see `beside`); the rows are those of `tables.compare`, of
    every method, behind the column profile.
    """
    tables = [
        compare(rows, METHODS).assign(profile=profile)
        for profile, rows in scores.groupby("profile", sort=False)
    ]
    leads = pd.concat(tables, ignore_index=True)
    return leads[["profile", *leads.columns.drop("profile")]]
