"""How well each class is labelled, and what the voxels of a class are called; in per cent."""

import pandas as pd

from spineseg.evaluation.summary import FAILED, common_runs, summarise, volume_dsc
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.methods import PLAIN, PROPOSED
from spineseg.paper.mechanism import pairs
from spineseg.profiles import Profile

LABELLED_VERTEBRAE = FOREGROUND[1:]  # the classes that are named by counting from the sacrum
FAILING = 100 * FAILED  # per cent: a class with a DSC below this is failing


def class_table(scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """DSC of each class, from the sacrum upwards, for each depth with and without ASPP.

    `scores` is the scores.csv of an experiment with this profile. Columns: `stages`, `network`
    (unet or aspp_unet), `class`, mean `DSC` with its interval (`low`, `high`), `seeds`, `cases`.
    """
    dice = volume_dsc(scores)
    parts = []
    for stages, pair in pairs(scores["model"], profile).items():
        summary = summarise(common_runs(dice, pair)).query("`class` in @FOREGROUND")
        networks = dict(zip(pair, (PLAIN, PROPOSED), strict=True))
        parts.append(summary.assign(stages=stages, network=summary["model"].map(networks)))
    columns = ["stages", "network", "class", "mean", "low", "high", "seeds", "cases"]
    table = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    percent = {name: 100 * table[name] for name in ("mean", "low", "high")}
    table = table.assign(**percent).rename(columns={"mean": "DSC"})
    order = ["stages", "network", "class"]
    return table.sort_values(order, ascending=[True, False, True], ignore_index=True)


def first_failing(classes: pd.DataFrame) -> pd.DataFrame:
    """The first class from the sacrum upwards whose DSC is below FAILING.

    `classes` is that of `class_table`. Returns one row per number of stages, with the columns unet
    and aspp_unet; empty text if no class is below.
    """
    order = {name: place for place, name in enumerate(FOREGROUND)}
    failing = classes[classes["DSC"] < FAILING]
    first = failing.groupby(["stages", "network"])["class"].agg(
        lambda names: min(names, key=order.__getitem__)
    )
    keys = pd.MultiIndex.from_product([classes["stages"].unique(), [PLAIN, PROPOSED]])
    return first.astype(str).reindex(keys).fillna("").unstack().rename_axis("stages")


def shares(confusion: pd.DataFrame, model: str) -> pd.DataFrame:
    """What a model calls the voxels of each class, in per cent of the class's voxels.

    `confusion` is the confusion.csv of an experiment; voxels are pooled over runs and cases.
    Returns one row per class in truth and one column per class in the prediction.
    """
    own = confusion[confusion["model"] == model]
    voxels = own.pivot_table("voxels", "truth", "predicted", "sum", observed=True)
    voxels = voxels.reindex(index=CLASSES, columns=CLASSES)
    return 100 * voxels.div(voxels.sum(axis=1), axis=0)


def named_table(confusion: pd.DataFrame) -> pd.DataFrame:
    """Missed or misnamed: what each network calls the voxels of each class, in per cent.

    `confusion` is the confusion.csv of an experiment. Returns one row per model and class that
    occurs: `right`, `missed` (called background), called the class `below` or `above` (towards or
    away from the sacrum; 0 if there is none), or any `other` class; and the class's `voxels` in
    truth, pooled over runs and cases.
    """
    rows = []
    for model in confusion["model"].unique():
        called = shares(confusion, model)
        own = confusion[confusion["model"] == model]
        voxels = own.groupby("truth", observed=True)["voxels"].sum()
        for place, name in enumerate(FOREGROUND):
            if not voxels.get(name, 0):
                continue
            row = called.loc[name]
            below, above = FOREGROUND[:place][-1:], FOREGROUND[place + 1 :][:1]
            others = row.drop([name, "BG", *below, *above])
            parts = (row[name], row["BG"], *(row[list(each)].sum() for each in (below, above)))
            rows.append((model, name, *parts, others.sum(), voxels[name]))
    columns = ["model", "class", "right", "missed", "below", "above", "other", "voxels"]
    return pd.DataFrame(rows, columns=columns)


def of_vertebrae(named: pd.DataFrame, model: str) -> pd.Series:
    """The `right`, `missed` and `misnamed` voxels of all vertebrae together, in per cent.

    `named` is that of `named_table`.
    """
    own = named[(named["model"] == model) & named["class"].isin(LABELLED_VERTEBRAE)]
    own = own.assign(misnamed=own[["below", "above", "other"]].sum(axis=1))
    parts = own[["right", "missed", "misnamed"]]
    return parts.mul(own["voxels"], axis=0).sum() / own["voxels"].sum()
