"""Did it reproduce? The paper's claims, one by one, against what an experiment measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.statistics import interval
from spineseg.labels import FOREGROUND
from spineseg.methods import TABLE3, TITLES
from spineseg.models import MODELS
from spineseg.paper.consistency import SLIGHT
from spineseg.paper.printed import printed as paper
from spineseg.paper.tables import PROPOSED, case_means, compare

REPRODUCED, NOT, UNJUDGED = "reproduced", "not reproduced", "cannot be judged on this data"
ALONE = ("aspp_unet_1", "aspp_unet_4")
FEWER = tuple(f"aspp_unet_{positions}" for positions in (1, 2, 3, 4, 34, 234))  # of Table 2
FEWEST = 6  # cases; with fewer, Wilcoxon's test cannot reach 5 % either
CLEAN, BEND, BEYOND = 0, 30, 50  # levels k of Eq. 5 around which the paper sees a change


@dataclass(frozen=True)
class Measured:
    """The tables of results/<experiment>/ that claims are judged by."""

    scores: pd.DataFrame
    summary: pd.DataFrame
    curves: pd.DataFrame
    noise: pd.DataFrame
    cost: pd.DataFrame


def judge(measured: Measured) -> pd.DataFrame:
    """One row a claim: section, claim, paper, ours, verdict.

    A difference counts as reproduced or not when its 95 % interval over the cases lies on one side
    of zero; otherwise these cases cannot tell, nor can fewer than six. What was not run cannot be
    judged either.
    """
    checks: Sequence[Callable[[Measured], list[dict[str, str]]]] = (
        _headline,
        _leads,
        _led_classes,
        _ablation,
        _noise,
        _convergence,
        _cost,
    )
    return pd.DataFrame([row for check in checks for row in check(measured)])


def _row(section: str, claim: str, printed: str, ours: str, verdict: str) -> dict[str, str]:
    return {"section": section, "claim": claim, "paper": printed, "ours": ours, "verdict": verdict}


def verdict(low: float, high: float, cases: int) -> str:
    """What the interval of a difference says that the paper claims to be above zero."""
    if cases < FEWEST:
        return UNJUDGED
    if low > 0:
        return REPRODUCED
    return NOT if high < 0 else UNJUDGED


def _difference(section: str, claim: str, printed: str, differences: pd.Series) -> dict[str, str]:
    """A claim that these differences, one a case, are above zero on average."""
    if differences.empty:
        return _row(section, claim, printed, "not run", UNJUDGED)
    low, high = interval(differences.to_numpy())
    ours = _with_interval(differences.mean(), low, high)
    return _row(section, claim, printed, ours, verdict(low, high, len(differences)))


def _with_interval(difference: float, low: float, high: float) -> str:
    return f"{difference:+.2f} ({low:+.2f} to {high:+.2f})"


def _headline(measured: Measured) -> list[dict[str, str]]:
    """Other scans, other scores: shown, not judged."""
    rows = measured.summary.query("aggregation == 'volume' and `class` == 'mean'")
    ours = rows[rows["model"] == PROPOSED].set_index("metric")["mean"]
    printed = paper.claims().query("claim == 'headline'").set_index("metric")["value"]
    return [
        _row(
            "abstract",
            f"ASPP-UNet reaches this {metric}",
            f"{printed[metric]:.3f}",
            f"{ours[metric]:.3f}" if metric in ours else "not run",
            UNJUDGED,
        )
        for metric in ("DSC", "IoU")
    ]


def _leads(measured: Measured) -> list[dict[str, str]]:
    """Section 3: ASPP-UNet's mean lead over each other method."""
    printed = paper.claims().query("claim == 'lead'").set_index(["metric", "subject"])["value"]
    ours = {
        (row["metric"], row["model"]): row for row in compare(measured.scores).to_dict("records")
    }
    rows = []
    for metric in ("DSC", "IoU"):
        for name in TABLE3:
            if name == PROPOSED:
                continue
            found, text, judged = ours.get((metric, name)), "not run", UNJUDGED
            if found:
                text = _with_interval(found["difference"], found["low"], found["high"])
                judged = verdict(found["low"], found["high"], found["cases"])
            claim = f"ASPP-UNet above {TITLES[name]} in {metric}, points"
            rows.append(_row("3", claim, f"{printed[metric, TITLES[name]]:+.2f}", text, judged))
    return rows


def _led_classes(measured: Measured) -> list[dict[str, str]]:
    """Section 3: the classes on which ASPP-UNet is said to come first."""
    claimed = paper.claims().query("claim == 'rank'").groupby("metric", sort=False)["subject"]
    means = measured.summary.query("aggregation == 'volume' and model in @TABLE3")
    rows = []
    for metric, subjects in claimed:
        table = means[means["metric"] == metric].pivot(
            index="class", columns="model", values="mean"
        )
        table = table.reindex([name for name in FOREGROUND if name in table.index])
        claim = f"ASPP-UNet first in {metric} on these classes"
        printed = " ".join(subjects)
        if PROPOSED not in table or table.shape[1] < len(TABLE3):
            rows.append(_row("3", claim, printed, "not all methods were run", UNJUDGED))
            continue
        led = table.index[table.idxmax(axis=1) == PROPOSED]
        judged = REPRODUCED if set(subjects) <= set(led) else NOT
        if not set(subjects) <= set(table.index):
            judged = UNJUDGED
        rows.append(_row("3", claim, printed, " ".join(led) or "none", judged))
    return rows


def _ablation(measured: Measured) -> list[dict[str, str]]:
    """Section 2.9, Table 2."""
    printed = paper.table2().query("metric == 'DSC'").set_index("positions")["mean"]
    dice = case_means(measured.scores).query("metric == 'DSC'")
    values = dice.pivot(index="case", columns="model", values="value")
    shallow, deep = ALONE
    rows = [
        _difference(
            "2.9",
            "one ASPP does more at position 4 than at 1, DSC points",
            f"{printed['4'] - printed['1']:+.2f}",
            _minus(values, deep, shallow),
        )
    ]
    claim, rival = "four ASPP modules do more than any fewer, DSC points", ""
    if set(FEWER) <= set(values):
        rival = max(FEWER, key=lambda name: values[name].mean())
        claim += f" (next: {MODELS[rival].title})"
    lead = printed["1+2+3+4"] - printed.drop("1+2+3+4").max()
    rows.append(_difference("2.9", claim, f"{lead:+.2f}", _minus(values, PROPOSED, rival)))
    return rows


def _minus(values: pd.DataFrame, one: str, other: str) -> pd.Series:
    """One column less another; nothing where either is missing."""
    return values[one] - values[other] if {one, other} <= set(values) else pd.Series(dtype=float)


def _noise(measured: Measured) -> list[dict[str, str]]:
    """Section 2.10, and the future work it names."""
    dice = measured.noise.assign(DSC=100 * measured.noise["DSC"])

    def at(name: str, low: int, high: int) -> pd.Series:
        """Each case's mean DSC over the levels from `low` to `high`."""
        rows = dice[(dice["model"] == name) & dice["k"].between(low, high)]
        return rows.groupby("case")["DSC"].mean()

    clean, bend, beyond = (at(PROPOSED, k, k) for k in (CLEAN, BEND, BEYOND))
    before = (clean - bend) / (BEND - CLEAN)
    after = (bend - beyond) / (BEYOND - BEND)
    gain = (at("aspp_unet_noise", BEND, max(LEVELS)) - at(PROPOSED, BEND, max(LEVELS))).dropna()
    expectations = (
        ("DSC falls up to k = 30, points a unit of k", "falls", before),
        ("beyond, it falls faster by, points a unit of k", "faster", after - before),
        ("training with noise helps from k = 30 on, DSC points", "expected", gain),
    )
    return [_difference("2.10", *expected) for expected in expectations]


def _convergence(measured: Measured) -> list[dict[str, str]]:
    """Section 3, Fig. 8: the mean training loss over all epochs, among equal losses."""
    own = measured.curves[measured.curves["model"].isin(set(TABLE3) & set(MODELS))]
    losses = own.groupby("model")["train_loss"].mean()
    claim = "ASPP-UNet's training loss falls fastest (mean over the epochs)"
    if PROPOSED not in losses or len(losses) < 2:
        return [_row("3", claim, "fastest", "not run", UNJUDGED)]
    rival = str(losses.drop(PROPOSED).idxmin())
    ours = f"{losses[PROPOSED]:.3f}; {TITLES[rival]} {losses[rival]:.3f}"
    judged = REPRODUCED if losses[PROPOSED] < losses[rival] else NOT
    return [_row("3", claim, "fastest", ours, judged)]


def _cost(measured: Measured) -> list[dict[str, str]]:
    """Section 3, Table 4: more than U-Net-2D, but "only slightly"."""
    printed = paper.table4().set_index("model")
    ours = measured.cost.set_index("model")
    rows = []
    for what, theirs, mine in (
        ("parameters", "parameters_millions", "parameters"),
        ("time an image", "seconds", "seconds"),
    ):
        paper_more = _more(printed[theirs], "ASPP-UNet", "U-Net-2D")
        our_more = _more(ours[mine], PROPOSED, "unet")
        judged = REPRODUCED if our_more <= SLIGHT else NOT
        claim = f"ASPP-UNet takes only slightly more {what} than U-Net-2D"
        rows.append(_row("3", claim, f"{paper_more:+.0f} %", f"{our_more:+.0f} %", judged))
    return rows


def _more(values: pd.Series, one: str, other: str) -> float:
    """How much more one takes than the other, per cent."""
    return 100 * (float(values[one]) / float(values[other]) - 1)
