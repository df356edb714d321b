"""How the methods compare, and what their errors are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import interval
from spineseg.evaluation.summary import POOR, common_runs, volume_dsc
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import METHODS, PLAIN, PROPOSED, TABLE3_METHODS
from spineseg.paper.by_class import of_vertebrae
from spineseg.paper.findings.words import Row, joined, titles
from spineseg.paper.tables import with_interval
from spineseg.paper.verdicts import CANNOT_ACT, CHANCE, NOT_REPRODUCED, REPRODUCED, UNTRAINED

MOSTLY = 50  # per cent of the wrong voxels: more are mostly of that kind


def on_means(table3: pd.DataFrame, name: str) -> str:
    """Which method has the highest mean DSC; `table3` is that of `tables.beside_table3`.

    `name` is that of the experiment.
    """
    rows = table3[(table3["class"] == ALL_CLASSES) & (table3["metric"] == "DSC")]
    means = rows.dropna(subset="ours").set_index("model").sort_values("ours", ascending=False)
    absent = [METHODS[model].title for model in TABLE3_METHODS if model not in means.index]
    if means.empty:
        return f"{name}: no method was run."
    best = means.iloc[0]
    interval = with_interval(best["ours"], best["low"], best["high"])
    sentences = [
        f"{name}: {METHODS[str(best.name)].title} has the highest mean DSC of the {len(means)} "
        f"methods that were run, {interval} %."
    ]
    others = [
        f"{METHODS[str(model)].title} {ours:.1f} %" for model, ours in means["ours"][1:].items()
    ]
    if others:
        sentences.append(f"Then come{'s' * (len(others) == 1)} {joined(others)}.")
    if absent:
        sentences.append(f"Not run: {', '.join(absent)}.")
    return " ".join(sentences)


def on_best(table3: pd.DataFrame) -> str:
    """Which method has the highest mean DSC of each class; `table3` as in `on_means`."""
    rows = table3[(table3["class"] != ALL_CLASSES) & (table3["metric"] == "DSC")]
    means = rows.dropna(subset="ours").pivot(index="class", columns="model", values="ours")
    if means.empty:
        return ""
    order = [name for name in FOREGROUND if name in means.index]
    best = means.eq(means.max(axis=1), axis=0).loc[order]
    tied = best.sum(axis=1) > 1
    parts = [
        f"that of {METHODS[model].title} on {' '.join(best.index[best[model] & ~tied])}"
        for model in TABLE3_METHODS
        if model in best and (best[model] & ~tied).any()
    ]
    sentences = [f"The highest mean DSC is {joined(parts)}."] if parts else []
    if tied.any():
        sentences.append(f"Several methods share the highest on {' '.join(best.index[tied])}.")
    return " ".join(sentences)


def on_leads(leads: pd.DataFrame) -> str:
    """Which leads of ASPP-UNet count.

    `leads` has a row per rival, with the columns `model`, `difference`, `low`, `high`, `verdict`.
    """
    if leads.empty:
        return "ASPP-UNet was not compared with another method."
    clear = (leads["low"] > 0) | (leads["high"] < 0)
    sentences = [
        f"Of {len(leads)} differences between ASPP-UNet and another method, {clear.sum()} "
        f"can be told from zero: ASPP-UNet is ahead in {(leads['low'] > 0).sum()} and behind in "
        f"{(leads['high'] < 0).sum()}."
    ]
    words = {
        REPRODUCED: "ASPP-UNet leads over {}.",
        NOT_REPRODUCED: "ASPP-UNet is behind {}, against the paper's claim.",
        CHANCE: "Between ASPP-UNet and {}, chance alone can explain the difference.",
        UNTRAINED: "The comparison with {} does not count, because a network in it is not known "
        "to be trained out.",
        CANNOT_ACT: "The comparison with {} does not count, because in images of this size {}.",
    }
    for verdict, sentence in words.items():
        rows = leads[leads["verdict"] == verdict].to_dict("records")
        shown = [_led(row, verdict in (REPRODUCED, NOT_REPRODUCED, CHANCE)) for row in rows]
        if shown:
            why = _why_too_small({row["model"] for row in rows})
            sentences.append(sentence.format(joined(shown), why))
    return " ".join(sentences)


def _why_too_small(rivals: set[str]) -> str:
    """Why images are too small for comparisons with these rivals."""
    coarse = [METHODS[name].title for name in TABLE3_METHODS if name in rivals - {PLAIN}]
    reasons = ["U-Net-2D sees too much"] if PLAIN in rivals else []
    if coarse:
        reasons.append(f"the labels of {joined(coarse)} are too coarse")
    return joined(reasons)


def on_ceiling(ceiling: pd.DataFrame, table3: pd.DataFrame) -> list[str]:
    """What methods could reach that enlarge coarse labels, a few sentences on each.

    `ceiling` is ceiling.csv, and `table3` as in `on_means`.
    """
    rows = table3[(table3["class"] == ALL_CLASSES) & (table3["metric"] == "DSC")]
    means = rows.set_index("model")["ours"].dropna()
    return [
        _on_ceiling(METHODS[str(model)].title, 100 * cases, means[model], means[PROPOSED])
        for model, cases in ceiling.groupby("model")["DSC"]
        if {model, PROPOSED} <= set(means.index)
    ]


def _on_ceiling(title: str, cases: pd.Series, trained: float, ours: float) -> str:
    """The sentences on one method, in per cent; `cases` has the best DSC found per patient."""
    best, proposed = cases.mean(), METHODS[PROPOSED].title
    text = (
        f"{title} enlarges a coarse map. Labels made in this way and fitted to the true masks of "
        f"{len(cases)} patients reach a mean DSC of {with_interval(best, *interval(cases))} %. "
        f"The trained {title} has {trained:.1f} %, and {proposed} {ours:.1f} %. "
    )
    if best >= ours:
        return f"{text}So the images are large enough to compare the two."
    return (
        f"{text}So in images of this size, {proposed} would lead by about {ours - best:.1f} points "
        f"even if {title} were perfect, and its lead does not count."
    )


def _led(row: Row, with_points: bool) -> str:
    title = METHODS[row["model"]].title
    points = with_interval(row["difference"], row["low"], row["high"], "+.1f")
    return f"{title} ({points} points)" if with_points else title


def on_folds(folds: pd.DataFrame) -> str:
    """U-Net-2D against ASPP-UNet over several folds; `folds` is that of `tables.five_folds`."""
    rows = folds[folds["metric"] == "DSC"].to_dict("records")
    if not rows:
        return "The two networks have fewer than two folds in common."
    (row,) = rows
    points = with_interval(row["difference"], row["low"], row["high"], "+.1f")
    return (
        f"Over {row['folds']} folds with one seed and {row['cases']} patients, ASPP-UNet minus "
        f"U-Net-2D is {points} points. This interval is over patients only: it does not "
        "include how far another seed would move the means."
    )


def on_errors(named: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """Whether networks miss vertebrae or misname them.

    `named` is that of `by_class.named_table`. Methods without rows are left out. One line per
    method, then the conclusions.
    """
    ran = [name for name in models if name in set(named["model"])]
    sentences, by_names, faultless = [], [], []
    for model in ran:
        parts = of_vertebrae(named, model)
        wrong = parts["missed"] + parts["misnamed"]
        if not wrong:
            faultless.append(METHODS[model].title)
            sentences.append(f"{METHODS[model].title} gets no voxel of the vertebrae wrong.")
            continue
        share = 100 * parts["misnamed"] / wrong
        sentences.append(
            f"{METHODS[model].title} gets {wrong:.1f} % of the vertebrae's voxels wrong. Of these, "
            f"{100 - share:.0f} % are missed and {share:.0f} % have another level's name."
        )
        if share > MOSTLY:
            by_names.append(METHODS[model].title)
    others = [title for title in titles(ran) if title not in (*by_names, *faultless)]
    if by_names:
        sentences.append(f"Most errors of {joined(by_names)} are wrong names.")
    if others:
        sentences.append(
            f"Most errors of {joined(others)} are not wrong names: voxels of a vertebra are called "
            "background."
        )
    return [*sentences, *_changed_errors(named, ran)]


def _changed_errors(named: pd.DataFrame, ran: Sequence[str]) -> list[str]:
    """What ASPP changes: the names or the outlines."""
    if not {PLAIN, PROPOSED} <= set(ran):
        return []
    plain, proposed = of_vertebrae(named, PLAIN), of_vertebrae(named, PROPOSED)
    names, missed = (proposed[part] - plain[part] for part in ("misnamed", "missed"))
    kinds = ("wrong names", "missed voxels")
    changes = (
        f"From {METHODS[PLAIN].title} to {METHODS[PROPOSED].title}, the share of wrong names "
        f"changes by {names:+.1f} points and that of missed voxels by {missed:+.1f}."
    )
    if abs(names) == abs(missed):
        return [changes]
    more, less = kinds if abs(names) > abs(missed) else kinds[::-1]
    return [
        f"{changes} So the two networks differ more in {more} than in {less} (no interval was "
        "computed)."
    ]


def on_worst(scores: pd.DataFrame, models: Sequence[str]) -> list[str]:
    """The worst case of each method, one sentence each.

    `scores` is the scores.csv of an experiment, of which the runs are used that all these methods
    have in common.
    """
    dice = volume_dsc(common_runs(scores, models))
    dice = dice.assign(value=100 * dice["value"])
    sentences = []
    for model in (name for name in models if name in set(dice["model"])):
        own = dice[dice["model"] == model]
        means = own.groupby(["case", "seed"], as_index=False)["value"].mean()
        case, seed, worst = means.loc[means["value"].argmin(), ["case", "seed", "value"]]
        row = own[(own["case"] == case) & (own["seed"] == seed)].set_index("class")["value"]
        poor = [name for name in FOREGROUND if row.get(name, np.inf) < 100 * POOR]
        tail = f"below {100 * POOR:.0f} %: {' '.join(poor)}" if poor else "no class is poor"
        sentences.append(
            f"{METHODS[model].title}: {case} with seed {seed}, mean DSC {worst:.1f} %, {tail}."
        )
    return sentences
