"""Which positions of ASPP modules are best."""

import pandas as pd

from spineseg.methods import METHODS, PROPOSED
from spineseg.paper.tables import with_interval


def on_ablation(rows: pd.DataFrame) -> list[str]:
    """Which positions of ASPP modules are best, one sentence each.

    `rows` is that of `course.score_tables.ablation_rows`.
    """
    ran = rows.dropna(subset="ours").set_index("positions")
    absent = [str(name) for name in rows["positions"] if name not in ran.index]
    not_run = f"Not run: {'; '.join(absent)}." if absent else "All networks were run."
    if ran.empty:
        return ["No network of the ablation was run."]
    best = ran.iloc[ran["ours"].argmax()]
    sentences = [
        f"Of the {len(ran)} networks that were run, the one {_with_modules(str(best.name))} has "
        f"the highest mean DSC: {with_interval(best['ours'], best['low'], best['high'])} %.",
        *_against_reference(ran),
        *_by_position(ran),
        not_run,
    ]
    if ran["seeds"].max() == 1:
        sentences.append("This is one seed. Another seed may give another order.")
    if METHODS[PROPOSED].positions in absent:
        sentences.append("So these results cannot tell whether four modules are better than fewer.")
    return sentences


def _against_reference(ran: pd.DataFrame) -> list[str]:
    """Which networks, indexed by positions, differ from the one with which they are compared."""
    others, reference = ran.dropna(subset="above"), ran[ran["above"].isna()].index
    if others.empty or len(reference) != 1:
        return []
    low, high = others["above_low"], others["above_high"]
    groups = {
        "Significantly better than the network {}: ASPP at {}.": low > 0,
        "Significantly worse than the network {}: ASPP at {}.": high < 0,
        "Cannot be told from the network {}: ASPP at {}.": (low <= 0) & (high >= 0),
    }
    return [
        words.format(_with_modules(reference[0]), "; ".join(low.index[rows]))
        for words, rows in groups.items()
        if rows.any()
    ]


def _with_modules(positions: str) -> str:
    return "without ASPP" if positions == "none" else f"with ASPP at {positions}"


def _by_position(ran: pd.DataFrame) -> list[str]:
    """Whether the mean of a single module rises with its position."""
    means = ran.loc[[place for place in "1234" if place in ran.index], "ours"]
    if len(means) < 2:
        return []
    rises = "rises" if means.is_monotonic_increasing else "does not rise"
    return [f"The mean of a single module {rises} with its position."]
