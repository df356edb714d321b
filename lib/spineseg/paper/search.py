"""The search for each method's settings, and whether its runs are trained out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import interval

TRAINED_OUT = 1.0  # points of DSC: a run is trained out if twice the epochs change less
Settings = tuple[float, int]  # learning rate, epochs
SEARCH_COLUMNS = ["model", "learning_rate", "epochs", "trials", "DSC", "patients", "chosen"]
CHANGE = ["change", "low", "high"]
CONVERGENCE_COLUMNS = ["model", "epochs", "seeds", "DSC", "DSC_twice", *CHANGE, "trained_out"]


def search_table(validation: pd.DataFrame, taken: Mapping[str, Settings]) -> pd.DataFrame:
    """What the search tried for each method, one row per setting.

    `validation` is the validation.csv of an experiment: the mean DSC over the classes of each
    validation patient, in per cent. `taken` has the setting that each method is trained with.
    Columns: model, learning_rate, epochs, the number of `trials` (more than one if a setting was
    tried with several seeds or devices), DSC (mean over trials and patients, per cent), the number
    of `patients`, and `chosen`: the setting that was taken or, if a method is trained for more
    epochs than were tried, the longest trial with that learning rate.
    """
    trial = validation["device"] + " " + validation["seed"].astype(str)
    settings = validation.assign(trial=trial).groupby(["model", "learning_rate", "epochs"])
    table = settings.agg(
        trials=("trial", "nunique"), DSC=("DSC", "mean"), patients=("case", "nunique")
    ).reset_index()
    table["chosen"] = False
    for model, (rate, epochs) in taken.items():
        same = (table["model"] == model) & (table["learning_rate"] == rate)
        longest = table.loc[same & (table["epochs"] <= epochs), "epochs"].nlargest(1)
        table.loc[longest.index, "chosen"] = True
    order = {model: number for number, model in enumerate(validation["model"].unique())}
    table = table.sort_values(
        ["model", "epochs", "learning_rate"],
        key=lambda column: column.map(order) if column.name == "model" else column,
        ignore_index=True,
    )
    return table[SEARCH_COLUMNS]


def convergence_table(search: pd.DataFrame, validation: pd.DataFrame) -> pd.DataFrame:
    """How much the mean DSC changes at twice the epochs, one row per method.

    `search` is that of `search_table`, and `validation` what it was made from. Methods of which
    only one number of epochs was tried are left out. Columns: model, epochs (that were chosen),
    seeds (1), DSC and DSC_twice (per cent, on validation patients), their `change` with its 95 %
    interval over patients (`low`, `high`), and whether the method is `trained_out`: its mean
    changes by less than TRAINED_OUT points. If twice the epochs were not tried, it counts as not
    trained out. If a setting was tried more than once, the means of its trials count.
    """
    cases = validation.groupby(["model", "learning_rate", "epochs", "case"])["DSC"].mean()
    rows = []
    for model, tried in search.groupby("model", sort=False):
        if tried["epochs"].nunique() > 1:
            settings = tried.set_index(["learning_rate", "epochs"]).index
            for rate, epochs in settings[tried["chosen"]]:
                dsc = cases[model, rate, epochs]
                twice, change = np.nan, (np.nan, np.nan, np.nan)
                if (rate, 2 * epochs) in settings:
                    longer = cases[model, rate, 2 * epochs]
                    twice = longer.mean()
                    change = twice - dsc.mean(), *interval(longer - dsc)
                trained_out = abs(change[0]) < TRAINED_OUT
                rows.append((model, epochs, 1, dsc.mean(), twice, *change, trained_out))
    return pd.DataFrame(rows, columns=CONVERGENCE_COLUMNS)
