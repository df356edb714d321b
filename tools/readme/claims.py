"""The paper's claims, and what became of them."""

import pandas as pd
from tools.readme import stored
from tools.readme.stored import RESULTS, SHOWN, SHOWN_PROFILE

from spineseg.evaluation.result_files import VERDICTS
from spineseg.methods import DEPTHS, METHODS, PLAIN, PROPOSED, TABLE3_METHODS
from spineseg.models.receptive_field import rows_seen
from spineseg.paper import findings, printed
from spineseg.paper.findings.words import Row, in_stages, in_words, joined
from spineseg.paper.tables import with_interval
from spineseg.paper.verdicts import NOT_REPRODUCED, lead_key
from spineseg.profiles import load_profile

OTHER_RIVALS = [name for name in TABLE3_METHODS if name not in (PLAIN, PROPOSED)]


def claim(experiment: str, key: str) -> pd.Series:
    """The row of verdicts.csv with this key."""
    return VERDICTS.read(RESULTS / experiment).set_index("key").loc[key]


def judged_as(verdict: str) -> list[str]:
    """The other methods with this verdict on ASPP-UNet's lead over them."""
    verdicts = VERDICTS.read(RESULTS / SHOWN).set_index("key")["verdict"]
    return [name for name in OTHER_RIVALS if verdicts.get(lead_key(name)) == verdict]


def rivals_ahead() -> str:
    """The methods that ASPP-UNet is behind, against the paper's claim."""
    epochs = stored.convergence()["epochs"]
    behind = []
    for name in judged_as(NOT_REPRODUCED):
        lead, low, high = stored.lead_over(name)[["difference", "low", "high"]].astype(float)
        points_behind = with_interval(-lead, -high, -low, ".1f")
        behind.append(f"{METHODS[name].title} ({epochs[name]} epochs) by {points_behind}")
    if not behind:
        return ""
    return (
        f"**Against the paper's claim**, {METHODS[PROPOSED].title} ({epochs[PROPOSED]} epochs) is "
        f"behind {joined(behind)} points on the phantom."
    )


def stated() -> pd.Series:
    """What the paper says of DSC, by claim and subject."""
    return printed.stated().query("metric == 'DSC'").set_index(["claim", "subject"])["value"]


def second_best() -> str:
    """The method over which the paper states the smallest lead in DSC."""
    title = stated()["lead"].idxmin()
    return next(name for name in TABLE3_METHODS if METHODS[name].title == title)


def may_be_chance(row: pd.Series | Row, prefix: str = "") -> str:
    """A remark if the interval in the columns `prefix`low and `prefix`high contains zero."""
    chance = row[f"{prefix}low"] <= 0 <= row[f"{prefix}high"]
    return ", which may be chance" if chance else ""


def stages_tried_longer() -> str:
    """With how many stages twice the epochs were tried for the networks of the mechanism."""
    stages = [*stored.longer()["stages"]]
    if {*DEPTHS} <= {*stages}:
        return "each number of stages"
    *fewer, most = stages
    return joined([*map(in_words, fewer), in_stages(most)], "or")


def without_verdict() -> str:
    """A sentence if twice the epochs still change the networks of the mechanism; else empty."""
    untrained = findings.on_trained_out(stored.longer(), load_profile(SHOWN_PROFILE).epochs)
    return "So these leads get no verdict." if untrained else ""


def seen(profile_name: str) -> str:
    """How many rows of an image U-Net-2D sees under a profile."""
    profile = load_profile(profile_name)
    return f"{rows_seen(profile.stages)} of {profile.image_size} rows"
