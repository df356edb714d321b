"""The search for each method's settings, and whether its runs are trained out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import interval
from spineseg.methods import PROPOSED

TRAINED_OUT = 1.0  # points of DSC: a run is trained out if twice the epochs change less
Settings = tuple[float, int]  # learning rate, epochs
SEARCH_COLUMNS = ["model", "learning_rate", "epochs", "trials", "DSC", "patients", "chosen"]
CHANGE = ["change", "low", "high"]
REPEAT_COLUMNS = ["model", "epochs", "device", "DSC", *CHANGE]
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
                longer = cases.get((model, rate, 2 * epochs))
                twice = np.nan if longer is None else longer.mean()
                change = _change(dsc, longer)
                trained_out = abs(change[0]) < TRAINED_OUT
                rows.append((model, epochs, 1, dsc.mean(), twice, *change, trained_out))
    return pd.DataFrame(rows, columns=CONVERGENCE_COLUMNS)


def _change(dsc: pd.Series, longer: pd.Series | None) -> tuple[float, float, float]:
    """From the DSC of each patient to that of longer training: the mean and its interval."""
    if longer is None:
        return np.nan, np.nan, np.nan
    return float(longer.mean() - dsc.mean()), *interval(longer - dsc)


def repeat_table(validation: pd.DataFrame) -> pd.DataFrame:
    """The settings that were tried on several devices with one seed, one row per device.

    `validation` is the validation.csv of an experiment. Columns: model, epochs, device, DSC (mean
    over validation patients, per cent), and the `change` with twice the epochs on this device, with
    its 95 % interval over patients (`low`, `high`); empty if they were not tried there.
    """
    setting = ["model", "learning_rate", "seed", "epochs"]
    cases = validation.groupby([*setting, "device", "case"])["DSC"].mean()
    rows = []
    for keys, tried in validation.groupby(setting, sort=False):
        model, rate, seed = keys[:3]
        epochs = int(tried["epochs"].iloc[0])
        devices = tried["device"].unique()
        for device in devices if len(devices) > 1 else ():
            dsc = cases[(*keys, device)]
            longer = cases.get((model, rate, seed, 2 * epochs, device))
            rows.append((model, epochs, device, dsc.mean(), *_change(dsc, longer)))
    return pd.DataFrame(rows, columns=REPEAT_COLUMNS)


def untrained_rivals(convergence: pd.DataFrame) -> pd.DataFrame:
    """The rows of the rivals of ASPP-UNet that are not shown to be trained out."""
    untrained = ~convergence["trained_out"].astype(bool)
    return convergence[untrained & (convergence["model"] != PROPOSED)]


def leads_over_untrained(convergence: pd.DataFrame) -> pd.DataFrame:
    """ASPP-UNet's lead, on validation patients, over rivals not shown to be trained out.

    `convergence` is that of `convergence_table`. One row per such rival, none if ASPP-UNet was not
    searched: model, epochs, and the lead in points of DSC with these epochs (`lead`), with twice
    those of the rival (`rival_longer`) and with twice those of both (`both_longer`).
    """
    own = convergence[convergence["model"] == PROPOSED]
    rivals = untrained_rivals(convergence) if len(own) else convergence[:0]
    here, longer = (own[name].astype(float).max() for name in ("DSC", "DSC_twice"))
    return pd.DataFrame(
        {
            "model": rivals["model"],
            "epochs": rivals["epochs"],
            "lead": here - rivals["DSC"],
            "rival_longer": here - rivals["DSC_twice"],
            "both_longer": longer - rivals["DSC_twice"],
        }
    ).reset_index(drop=True)
