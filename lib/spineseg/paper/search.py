"""The search for each method's settings, and whether its runs are trained out."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import by_seed, interval_of_difference
from spineseg.methods import PROPOSED

TRAINED_OUT = 1.0  # points of DSC: a run is trained out if twice the epochs change less
Settings = tuple[float, int]  # learning rate, epochs
SETTING = ["model", "learning_rate", "epochs"]
SEARCH_COLUMNS = [*SETTING, "trials", "DSC", "patients", "chosen"]
CHANGE = ["change", "low", "high"]
REPEAT_COLUMNS = ["model", "epochs", "seed", "device", "DSC", *CHANGE]
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
    table = (
        _with_trials(validation)
        .groupby(SETTING)
        .agg(trials=("trial", "nunique"), DSC=("DSC", "mean"), patients=("case", "nunique"))
        .reset_index()
    )
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
    the number of `seeds` that both numbers of epochs were tried with, DSC and DSC_twice (per cent,
    on validation patients), their `change` with its 95 % interval (`low`, `high`), and whether the
    method is `trained_out`: its mean changes by less than TRAINED_OUT points. If twice the epochs
    were not tried, it counts as not trained out. If a setting was tried more than once, the means
    of its trials count, and the interval is over patients and trials (`interval_of_difference`).
    """
    settings = dict(iter(_with_trials(validation).groupby(SETTING)))
    rows = []
    for model, tried in search.groupby("model", sort=False):
        if tried["epochs"].nunique() > 1:
            chosen = tried.set_index(["learning_rate", "epochs"]).index[tried["chosen"]]
            for rate, epochs in chosen:
                here = settings[model, rate, epochs]
                longer = settings.get((model, rate, 2 * epochs), here[:0])
                seeds = len({*here["seed"]} & {*longer["seed"]}) or here["seed"].nunique()
                means = here["DSC"].mean(), longer["DSC"].mean()
                change = _change(here, longer)
                trained_out = abs(change[0]) < TRAINED_OUT
                rows.append((model, epochs, seeds, *means, *change, trained_out))
    return pd.DataFrame(rows, columns=CONVERGENCE_COLUMNS)


def _with_trials(validation: pd.DataFrame) -> pd.DataFrame:
    """With the column `trial`: each is one trained network."""
    return validation.assign(trial=validation["device"] + " " + validation["seed"].astype(str))


def _change(here: pd.DataFrame, longer: pd.DataFrame) -> tuple[float, float, float]:
    """From the DSC of some trials to that of longer ones: the mean and its interval."""
    if longer.empty:
        return np.nan, np.nan, np.nan
    before, after = (
        by_seed(trials.set_index(["trial", "case"])["DSC"]) for trials in (here, longer)
    )
    return float(after.mean() - before.mean()), *interval_of_difference(after, before)


def repeat_table(validation: pd.DataFrame) -> pd.DataFrame:
    """The settings that were tried on several devices or with several seeds, one row per trial.

    `validation` is the validation.csv of an experiment. Columns: model, epochs, seed, device, DSC
    (mean over validation patients, per cent), and the `change` with twice the epochs, the same seed
    and the same device, with its 95 % interval over patients (`low`, `high`); empty if they were
    not tried so.
    """
    keys = [*SETTING, "trial"]
    validation = _with_trials(validation)
    trials = dict(iter(validation.groupby(keys)))
    repeated = validation.groupby(SETTING)["trial"].transform("nunique") > 1
    rows = []
    for _, here in validation[repeated].groupby(keys, sort=False):
        model, rate, epochs, name = here[keys].iloc[0]
        longer = trials.get((model, rate, 2 * epochs, name), here[:0])
        seed, device = here[["seed", "device"]].iloc[0]
        rows.append((model, epochs, seed, device, here["DSC"].mean(), *_change(here, longer)))
    return pd.DataFrame(rows, columns=REPEAT_COLUMNS)


def twice_as_long(search: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """The mean DSC of each network after `epochs` (`DSC`) and twice as many (`DSC_twice`).

    `search` holds rows of search.csv. The learning rate is the one that was chosen. Networks that
    were not tried with both are left out. The index is the name of the network.
    """
    chosen = search.loc[search["chosen"], ["model", "learning_rate"]]
    tried = search.merge(chosen).pivot_table("DSC", "model", "epochs")
    both = tried.reindex(columns=[epochs, 2 * epochs]).dropna()
    return both.set_axis(["DSC", "DSC_twice"], axis=1)


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
