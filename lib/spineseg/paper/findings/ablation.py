"""Which positions of ASPP modules are best."""

import pandas as pd

from spineseg.methods import ABLATION_METHODS, METHODS, PROPOSED
from spineseg.paper.findings.words import against_zero
from spineseg.paper.tables import with_interval


def on_ablation(rows: pd.DataFrame) -> list[str]:
    """Which positions of ASPP modules are best, one sentence each.

    `rows` is that of `paper.ablation.ablation_rows`.
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
        *_compared(ran),
        not_run,
    ]
    if ran["seeds"].max() == 1:
        sentences.append("This is one seed. Another seed may give another order.")
    if METHODS[PROPOSED].positions in absent:
        sentences.append("So these results cannot tell whether four modules are better than fewer.")
    return sentences


def on_longer_ablation(convergence: pd.DataFrame) -> str:
    """What twice the epochs change of the networks of the ablation; it is convergence.csv."""
    tried = convergence[convergence["model"].isin(ABLATION_METHODS)].dropna(subset="change")
    if tried.empty:
        return "Twice the epochs were not tried for these networks."
    positions = [METHODS[name].positions for name in tried["model"]]
    changes = "; ".join(
        f"{_with_modules(where)} {with_interval(row['change'], row['low'], row['high'], '+.1f')}, "
        f"{'' if row['trained_out'] else 'not '}trained out"
        for where, row in zip(positions, tried.to_dict("records"), strict=True)
    )
    others = " For the others, they were not tried." * (len(tried) < len(ABLATION_METHODS))
    return (
        "On validation patients (one seed), twice the epochs change the mean DSC by these points: "
        f"{changes}.{others}"
    )


def _compared(ran: pd.DataFrame) -> list[str]:
    """How the networks, indexed by positions, compare with all modules, if run, and with none."""
    sentences = [*_against(ran, "above"), *_against(ran, "gain")]
    return list(dict.fromkeys(sentences))  # without all modules, both compare with none


def _against(ran: pd.DataFrame, name: str) -> list[str]:
    """Which networks, indexed by positions, differ by `name` from the one that has none."""
    others, reference = ran.dropna(subset=name), ran.index[ran[name].isna()]
    if others.empty or len(reference) != 1:
        return []
    better, level, worse = against_zero(others[f"{name}_low"], others[f"{name}_high"])
    if len(others) > 1 and level.all():
        network = _with_modules(reference[0])
        return [f"None of the other {len(others)} networks can be told from the one {network}."]
    groups = {
        "These have a higher mean than the network {}, with an interval above zero: {}.": better,
        "These have a lower mean than the network {}, with an interval below zero: {}.": worse,
        "These cannot be told from the network {}: {}.": level,
    }
    return [
        words.format(_with_modules(reference[0]), _listed(others.index[rows]))
        for words, rows in groups.items()
        if rows.any()
    ]


def _listed(positions: pd.Index) -> str:
    without = ["no ASPP"] * ("none" in positions)
    modules = "; ".join(each for each in positions if each != "none")
    return "; ".join([*without, *([f"ASPP at {modules}"] if modules else [])])


def _with_modules(positions: str) -> str:
    return "without ASPP" if positions == "none" else f"with ASPP at {positions}"
