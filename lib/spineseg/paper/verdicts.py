"""Did it reproduce? Each claim of the paper, judged by the results of an experiment."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd

from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.statistics import interval
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import METHODS, OWN_NETWORKS, PROPOSED, TABLE3
from spineseg.paper import printed
from spineseg.paper.consistency import SLIGHTLY_PERCENT
from spineseg.paper.tables import METHOD_OF_POSITIONS, case_means, compare, with_interval

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
CANNOT_JUDGE = "cannot be judged on this data"
NOT_RUN = "not run"
MIN_CASES = 6  # with fewer, Wilcoxon's test cannot reach 5 % either
# Levels k of Eq. 5. The paper sees the DSC fall faster beyond the second one.
NOISE_CLEAN, NOISE_KNEE, NOISE_BEYOND = 0, 30, 50


@dataclass(frozen=True)
class Measured:
    """The tables in results/<experiment>/ by which claims are judged."""

    scores: pd.DataFrame
    summary: pd.DataFrame
    curves: pd.DataFrame
    noise: pd.DataFrame
    cost: pd.DataFrame


def judge(measured: Measured) -> pd.DataFrame:
    """Judge all claims. Returns one row per claim: section, claim, paper, ours, verdict.

    A claimed difference is reproduced if its 95 % interval over the cases is above zero, and not
    reproduced if it is below. If the interval contains zero, if there are fewer than six cases, or
    if a method was not run, the claim cannot be judged.
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


def verdict(low: float, high: float, cases: int) -> str:
    """The verdict on a difference that the paper claims to be positive, from its interval."""
    if cases < MIN_CASES:
        return CANNOT_JUDGE
    if low > 0:
        return REPRODUCED
    return NOT_REPRODUCED if high < 0 else CANNOT_JUDGE


def _row(section: str, claim: str, paper: str, ours: str, verdict: str) -> dict[str, str]:
    return {"section": section, "claim": claim, "paper": paper, "ours": ours, "verdict": verdict}


def _difference(section: str, claim: str, paper: str, differences: pd.Series) -> dict[str, str]:
    """Judge the claim that these differences, one per case, are positive on average."""
    if differences.empty:
        return _row(section, claim, paper, NOT_RUN, CANNOT_JUDGE)
    low, high = interval(differences.to_numpy())
    ours = with_interval(differences.mean(), low, high, "+.2f")
    return _row(section, claim, paper, ours, verdict(low, high, len(differences)))


def _headline(measured: Measured) -> list[dict[str, str]]:
    """The abstract's scores. They are shown but not judged, because the scans are other ones."""
    rows = measured.summary.query("aggregation == 'volume' and model == @PROPOSED")
    ours = rows[rows["class"] == ALL_CLASSES].set_index("metric")["mean"]
    paper = printed.stated().query("claim == 'headline'").set_index("metric")["value"]
    return [
        _row(
            "abstract",
            f"ASPP-UNet reaches this {metric}",
            f"{paper[metric]:.3f}",
            f"{ours[metric]:.3f}" if metric in ours else NOT_RUN,
            CANNOT_JUDGE,
        )
        for metric in ("DSC", "IoU")
    ]


def _leads(measured: Measured) -> list[dict[str, str]]:
    """Section 3: the lead of ASPP-UNet's mean over that of each other method."""
    paper = printed.stated().query("claim == 'lead'").set_index(["metric", "subject"])["value"]
    ours = {
        (row["metric"], row["model"]): row for row in compare(measured.scores).to_dict("records")
    }
    rows = []
    for metric in ("DSC", "IoU"):
        for name in TABLE3:
            if name == PROPOSED:
                continue
            text, judged, title = NOT_RUN, CANNOT_JUDGE, METHODS[name].title
            if found := ours.get((metric, name)):
                low, high = found["low"], found["high"]
                text = with_interval(found["difference"], low, high, "+.2f")
                judged = verdict(low, high, found["cases"])
            claim = f"ASPP-UNet above {title} in {metric}, points"
            rows.append(_row("3", claim, f"{paper[metric, title]:+.2f}", text, judged))
    return rows


def _led_classes(measured: Measured) -> list[dict[str, str]]:
    """Section 3: the classes on which ASPP-UNet is stated to be first."""
    stated = printed.stated().query("claim == 'rank'").groupby("metric", sort=False)["subject"]
    means = measured.summary.query("aggregation == 'volume' and model in @TABLE3")
    rows = []
    for metric, subjects in stated:
        table = means[means["metric"] == metric].pivot(
            index="class", columns="model", values="mean"
        )
        table = table.reindex([name for name in FOREGROUND if name in table.index])
        claim = f"ASPP-UNet first in {metric} on these classes"
        paper = " ".join(subjects)
        if PROPOSED not in table or table.shape[1] < len(TABLE3):
            rows.append(_row("3", claim, paper, "not all methods were run", CANNOT_JUDGE))
            continue
        led = table.index[table.idxmax(axis=1) == PROPOSED]
        judged = REPRODUCED if set(subjects) <= set(led) else NOT_REPRODUCED
        if not set(subjects) <= set(table.index):
            judged = CANNOT_JUDGE
        rows.append(_row("3", claim, paper, " ".join(led) or "none", judged))
    return rows


def _ablation(measured: Measured) -> list[dict[str, str]]:
    """Section 2.9, Table 2."""
    paper = printed.table2().query("metric == 'DSC'").set_index("positions")["mean"]
    dice = case_means(measured.scores).query("metric == 'DSC'")
    values = dice.pivot(index="case", columns="model", values="value")
    deeper = _difference(
        "2.9",
        "one ASPP module is better at position 4 than at 1, DSC points",
        f"{paper['4'] - paper['1']:+.2f}",
        _minus(values, METHOD_OF_POSITIONS["4"], METHOD_OF_POSITIONS["1"]),
    )
    fewer = [METHOD_OF_POSITIONS[row] for row in paper.index if row != METHODS[PROPOSED].positions]
    claim, rival = "four ASPP modules are better than fewer, DSC points", ""
    if set(fewer) <= set(values):
        rival = max(fewer, key=lambda name: values[name].mean())
        claim += f" (next best: {METHODS[rival].title})"
    lead = paper["1+2+3+4"] - paper.drop("1+2+3+4").max()
    four = _difference("2.9", claim, f"{lead:+.2f}", _minus(values, PROPOSED, rival))
    return [deeper, four]


def _minus(values: pd.DataFrame, one: str, other: str) -> pd.Series:
    """One column minus another; empty if either is missing."""
    return values[one] - values[other] if {one, other} <= set(values) else pd.Series(dtype=float)


def _noise(measured: Measured) -> list[dict[str, str]]:
    """Section 2.10, and the future work that the paper names."""
    dice = measured.noise.assign(DSC=100 * measured.noise["DSC"])

    def between(name: str, low: int, high: int) -> pd.Series:
        """Each case's mean DSC over the noise levels from `low` to `high`."""
        rows = dice[(dice["model"] == name) & dice["k"].between(low, high)]
        return rows.groupby("case")["DSC"].mean()

    clean, knee, beyond = (between(PROPOSED, k, k) for k in (NOISE_CLEAN, NOISE_KNEE, NOISE_BEYOND))
    before = (clean - knee) / (NOISE_KNEE - NOISE_CLEAN)
    after = (knee - beyond) / (NOISE_BEYOND - NOISE_KNEE)
    trained, plain = (
        between(name, NOISE_KNEE, max(LEVELS)) for name in ("aspp_unet_noise", PROPOSED)
    )
    expectations = (
        (f"DSC falls up to k = {NOISE_KNEE}, points per unit of k", "falls", before),
        (
            f"DSC falls faster beyond k = {NOISE_KNEE}, points per unit of k",
            "faster",
            after - before,
        ),
        (
            f"training with noise helps from k = {NOISE_KNEE} on, DSC points",
            "expected",
            (trained - plain).dropna(),
        ),
    )
    return [_difference("2.10", *expected) for expected in expectations]


def _convergence(measured: Measured) -> list[dict[str, str]]:
    """Section 3, Fig. 8: the training loss, averaged over the epochs.

    nnU-Net is left out, because its loss is another one.
    """
    own = measured.curves[measured.curves["model"].isin(set(TABLE3) & set(OWN_NETWORKS))]
    losses = own.groupby("model")["train_loss"].mean()
    claim = "ASPP-UNet's training loss falls fastest (mean over the epochs)"
    if PROPOSED not in losses or len(losses) < 2:
        return [_row("3", claim, "fastest", NOT_RUN, CANNOT_JUDGE)]
    rival = str(losses.drop(PROPOSED).idxmin())
    ours = f"{losses[PROPOSED]:.3f}; {METHODS[rival].title} {losses[rival]:.3f}"
    judged = REPRODUCED if losses[PROPOSED] < losses[rival] else NOT_REPRODUCED
    return [_row("3", claim, "fastest", ours, judged)]


def _cost(measured: Measured) -> list[dict[str, str]]:
    """Section 3, Table 4: ASPP-UNet costs "only slightly" more than U-Net-2D."""
    table4 = printed.table4().set_index("model")
    cost = measured.cost.set_index("model")
    rows = []
    for what, column, own_column in (
        ("parameters", "parameters_millions", "parameters"),
        ("time per image", "seconds", "seconds"),
    ):
        paper = _percent_more(table4[column], METHODS[PROPOSED].title, METHODS["unet"].title)
        ours = _percent_more(cost[own_column], PROPOSED, "unet")
        judged = REPRODUCED if ours <= SLIGHTLY_PERCENT else NOT_REPRODUCED
        claim = f"ASPP-UNet needs only slightly more {what} than U-Net-2D"
        rows.append(_row("3", claim, f"{paper:+.0f} %", f"{ours:+.0f} %", judged))
    return rows


def _percent_more(values: pd.Series, one: str, other: str) -> float:
    return 100 * (float(values[one]) / float(values[other]) - 1)
