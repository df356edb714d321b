"""Did it reproduce? Each claim of the paper, judged by the results of an experiment."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.provenance import device_names
from spineseg.evaluation.statistics import (
    by_seed,
    interval,
    interval_of_difference,
    interval_over_seeds,
    mean,
)
from spineseg.evaluation.summary import common_runs, volume_dsc
from spineseg.labels import FOREGROUND
from spineseg.methods import (
    ABLATION_METHODS,
    METHODS,
    NOISE_METHODS,
    NOISE_TRAINED,
    OWN_NETWORKS,
    PLAIN,
    PROPOSED,
    TABLE3_METHODS,
)
from spineseg.paper import printed
from spineseg.paper.consistency import SLIGHTLY_PERCENT
from spineseg.paper.tables import (
    METHOD_OF_POSITIONS,
    PAPER_METRICS,
    case_means,
    compare,
    percent_more,
    with_interval,
)

REPRODUCED = "reproduced"
NOT_REPRODUCED = "not reproduced"
CHANCE = "cannot be told from chance"
UNTRAINED = "rival not trained out"
CANNOT_ACT = "effect cannot act at this size"
NEEDS_PATIENTS = "needs the paper's patients"
EXPECTED = "expected"  # what the paper has not tried itself
ALL_VERDICTS = (REPRODUCED, NOT_REPRODUCED, CHANCE, UNTRAINED, CANNOT_ACT, NEEDS_PATIENTS)

# The image must be this many times as long as the rows that the plain U-Net sees, so that ASPP can
# add what is outside of them. In the paper it is 6 times as long.
LEAST_IMAGE_OVER_SEEN = 1.5
# Levels k of Eq. 5. The paper sees the DSC fall faster beyond the second one.
NOISE_CLEAN, NOISE_KNEE, NOISE_BEYOND = 0, 30, 50

Row = dict[str, str]
COLUMNS = ["device", "seeds", "key", "section", "claim", "paper", "ours", "verdict"]
# The keys of some claims, by which they are found whatever their words are. Leads: `lead_key`.
FOUR_MODULES = "four modules above fewer"
FALLS_FASTER = "noise: falls faster"
NOISE_TRAINING = "noise: training"
MORE_TIME = "cost: time"


@dataclass(frozen=True)
class Measured:
    """The tables in results/<experiment>/ by which claims are judged. All but scores may be empty.

    A method that `convergence` (convergence.csv) does not list is not known to be trained out. One
    that `ceiling` (ceiling.csv) does not list is taken to be able to match the masks.
    """

    scores: pd.DataFrame
    curves: pd.DataFrame
    noise: pd.DataFrame
    cost: pd.DataFrame
    convergence: pd.DataFrame
    ceiling: pd.DataFrame
    rows_seen: int  # rows of the image that the plain U-Net sees
    image_rows: int

    def trained_out(self, models: Iterable[str]) -> bool:
        """Whether all these methods are known to be trained out."""
        if self.convergence.empty:
            return False
        known = self.convergence.set_index("model")["trained_out"]
        return all(bool(known.get(model, False)) for model in models)

    @property
    def aspp_can_act(self) -> bool:
        """Whether enough of the image is outside of what the plain U-Net sees."""
        return self.image_rows >= LEAST_IMAGE_OVER_SEEN * self.rows_seen

    def too_coarse(self, first: str, others: Iterable[str]) -> list[str]:
        """Those of the other methods whose labels are too coarse to reach the DSC of `first`.

        The 95 % interval of the highest DSC within their reach is below the mean of `first`.
        """
        highest = (
            _of(others, self.ceiling).groupby("model")["DSC"].agg(lambda dsc: interval(dsc)[1])
        )
        if highest.empty:
            return []
        dice = volume_dsc(common_runs(self.scores, TABLE3_METHODS))
        return list(highest.index[highest < _class_means(dice)[first].mean()])

    def lead(self, low: float, high: float, first: str, others: Sequence[str], aspp: bool) -> str:
        """The verdict on the claim that `first` leads over each of `others`, from the interval.

        `aspp`: whether the claim is that ASPP helps U-Net.
        """
        found = verdict(low, high)
        coarse = found == REPRODUCED and self.too_coarse(first, others)
        if coarse or (aspp and not self.aspp_can_act):
            return CANNOT_ACT
        behind = {REPRODUCED: others, NOT_REPRODUCED: [first]}.get(found, [first, *others])
        return found if self.trained_out(behind) else UNTRAINED


def judge(measured: Measured) -> pd.DataFrame:
    """Judge all claims. Returns one row per claim: key, section, claim, paper, ours, verdict.

    Each row also has the `device` and the number of `seeds` of the runs that it is judged by. Costs
    are not of runs, so they have no seeds. Claims about methods that were not run are left out. A
    claimed difference is reproduced if its 95 % interval over seeds and patients is above zero, and
    not reproduced if it is below. If it contains zero, the difference cannot be told from chance.
    Before that, three conditions are checked:

    - A claim that ASPP helps U-Net is judged only if the image is at least LEAST_IMAGE_OVER_SEEN
      times as long as the rows that the plain U-Net sees. Otherwise the effect cannot act.
    - A lead over a method that enlarges a coarse map counts only if such a map can reach the
      leader's mean DSC, also for claims about IoU. Otherwise the images are too small for it.
    - A lead is judged only if the methods that are behind are trained out, however large it is:
      more training could let them catch up. If chance can decide who leads, all must be.

    The abstract's scores need the paper's patients.
    """
    checks: Sequence[Callable[[Measured], list[Row]]] = (
        _headline,
        _leads,
        _led_classes,
        _ablation,
        _noise,
        _convergence,
        _cost,
    )
    rows = [row for check in checks for row in check(measured)]
    return pd.DataFrame(rows, columns=COLUMNS)


def verdict(low: float, high: float) -> str:
    """The verdict on a difference that the paper claims to be positive, from its interval."""
    if low > 0:
        return REPRODUCED
    return NOT_REPRODUCED if high < 0 else CHANCE


def _row(measured: pd.DataFrame, *values: str) -> Row:
    """One verdict: `measured` has the rows that it is judged by, of one of the tables.

    `values` are key, section, claim, paper, ours and verdict.
    """
    seeds = str(measured["seed"].nunique()) if "seed" in measured else ""
    return dict(zip(COLUMNS, (device_names(measured["device"]), seeds, *values), strict=True))


def _of(models: Iterable[str], table: pd.DataFrame) -> pd.DataFrame:
    return table[table["model"].isin(list(models))]


def _headline(measured: Measured) -> list[Row]:
    """The abstract's scores. They are shown but not judged, because the scans are other ones."""
    if PROPOSED not in set(measured.scores["model"]):
        return []
    volumes = common_runs(measured.scores, TABLE3_METHODS).query("aggregation == 'volume'")
    paper = printed.stated().query("claim == 'headline'").set_index("metric")["value"]
    own = _of([PROPOSED], volumes)
    rows = []
    for metric in PAPER_METRICS:
        ours = _class_means(volumes[volumes["metric"] == metric])[PROPOSED].mean()
        claim = f"ASPP-UNet reaches this {metric}"
        values = f"{paper[metric]:.3f}", f"{ours:.3f}", NEEDS_PATIENTS
        rows.append(_row(own, f"mean {metric}", "abstract", claim, *values))
    return rows


def _class_means(volumes: pd.DataFrame) -> pd.DataFrame:
    """Means over seeds, then over cases: one row per class and one column per model."""
    cases = volumes.groupby(["class", "model", "case"])["value"].mean()
    means = cases.groupby(["class", "model"]).mean().unstack("model")
    return means.reindex([name for name in FOREGROUND if name in means.index])


def lead_key(model: str, metric: str = "DSC") -> str:
    """The key of the claim that the mean of ASPP-UNet is above that of another method."""
    return f"lead over {model} in {metric}"


def _leads(measured: Measured) -> list[Row]:
    """Section 3: the lead of ASPP-UNet's mean over that of each other method."""
    paper = printed.stated_leads()
    runs = common_runs(measured.scores, TABLE3_METHODS)
    rows = []
    for lead in compare(measured.scores).to_dict("records"):
        model, metric, low, high = (lead[key] for key in ("model", "metric", "low", "high"))
        printed_lead = paper[metric, METHODS[model].title]
        ours = with_interval(lead["difference"], low, high, "+.2f")
        pair = (PROPOSED, model)
        judged = measured.lead(low, high, PROPOSED, [model], aspp=model == PLAIN)
        claim = f"ASPP-UNet above {METHODS[model].title} in {metric}, points"
        values = "3", claim, f"{printed_lead:+.2f}", ours, judged
        rows.append(_row(_of(pair, runs), lead_key(model, metric), *values))
    return rows


def _led_classes(measured: Measured) -> list[Row]:
    """Section 3: the classes on which ASPP-UNet is stated to be first.

    It must lead over each other method on each of these classes. Methods whose labels are fine
    enough and that are shown to be trained out, or are ahead on one of the classes, are compared
    first: if it does not lead over one of them, neither longer training nor larger images for the
    others can make it first.
    """
    if not set(TABLE3_METHODS) <= set(measured.scores["model"]):
        return []
    volumes = common_runs(measured.scores, TABLE3_METHODS).query("aggregation == 'volume'")
    stated = printed.stated().query("claim == 'rank'").groupby("metric", sort=False)["subject"]
    rows = []
    for metric, subjects in stated:
        scores = volumes[volumes["metric"] == metric]
        best = _class_means(scores).idxmax(axis=1)
        led = " ".join(best.index[best == PROPOSED]) or "none"
        claim = f"ASPP-UNet first in {metric} on these classes"
        judged = _first_on(list(subjects), scores, measured)
        rows.append(_row(scores, f"first in {metric}", "3", claim, " ".join(subjects), led, judged))
    return rows


def _first_on(classes: Sequence[str], volumes: pd.DataFrame, measured: Measured) -> str:
    """The verdict on ASPP-UNet being first on all these classes."""
    values = volumes.set_index(["class", "model", "seed", "case"])["value"]
    if not set(classes) <= set(values.index.unique("class")):
        return NEEDS_PATIENTS
    leads = {  # the lowest ends over the classes
        rival: np.min(
            [_interval_of_lead(values[name], PROPOSED, rival) for name in classes], axis=0
        )
        for rival in TABLE3_METHODS
        if rival != PROPOSED
    }

    def judged(rivals: Collection[str]) -> str:
        low, high = np.min([leads[rival] for rival in rivals], axis=0)
        return measured.lead(low, high, PROPOSED, list(rivals), aspp=True)

    coarse = measured.too_coarse(PROPOSED, leads)
    fair = [
        rival
        for rival, (_, high) in leads.items()
        if rival not in coarse
        and measured.trained_out([PROPOSED] if high < 0 else [PROPOSED, rival])
    ]
    first = judged(fair) if fair else REPRODUCED
    return first if first != REPRODUCED else judged(leads)


def _interval_of_lead(values: pd.Series, one: str, other: str) -> tuple[float, float]:
    """The interval of the mean of `one` minus that of `other`.

    `values` are indexed by model, seed and case.
    """
    table = values.unstack("case")
    return interval_of_difference(table.loc[one].to_numpy(), table.loc[other].to_numpy())


def _ablation(measured: Measured) -> list[Row]:
    """Section 2.9, Table 2."""
    paper = printed.table2().query("metric == 'DSC'").set_index("positions")["mean"]
    runs = common_runs(measured.scores, ABLATION_METHODS)
    cases = case_means(runs).query("metric == 'DSC'")
    values = cases.set_index(["model", "seed", "case"])["value"]
    means = values.groupby(["model", "case"]).mean().groupby("model").mean()

    def row(key: str, claim: str, lead: float, one: str, other: str, others: Sequence[str]) -> Row:
        low, high = _interval_of_lead(values, one, other)
        ours = with_interval(means[one] - means[other], low, high, "+.2f")
        judged = measured.lead(low, high, one, others, aspp=True)
        return _row(_of([one, *others], runs), key, "2.9", claim, f"{lead:+.2f}", ours, judged)

    rows = []
    deep, shallow = METHOD_OF_POSITIONS["4"], METHOD_OF_POSITIONS["1"]
    if {deep, shallow} <= set(means.index):
        claim = "one ASPP module is better at position 4 than at 1, DSC points"
        lead = paper["4"] - paper["1"]
        rows.append(row("position 4 above 1", claim, lead, deep, shallow, [shallow]))
    every = [METHOD_OF_POSITIONS[positions] for positions in paper.index]
    if set(every) <= set(means.index):
        four = METHODS[PROPOSED].positions
        fewer = [name for name in every if name != PROPOSED]
        rival = str(means[fewer].idxmax())
        printed_rival = str(paper.drop(four).idxmax())
        claim = "four ASPP modules are better than the best of fewer, DSC points (best: in the "
        claim += f"paper {printed_rival}, here {METHODS[rival].positions})"
        lead = paper[four] - paper[printed_rival]
        rows.append(row(FOUR_MODULES, claim, lead, PROPOSED, rival, fewer))
    return rows


def _noise(measured: Measured) -> list[Row]:
    """Section 2.10, and the future work that the paper names."""
    if measured.noise.empty:
        return []
    noise = common_runs(measured.noise, NOISE_METHODS)
    dice = 100 * noise.set_index(["model", "k", "seed", "case"])["DSC"]
    ran = set(noise["model"])

    def between(name: str, low: int, high: int) -> np.ndarray:
        """The mean DSC over the noise levels from `low` to `high`, (seeds, cases)."""
        levels = dice[name]
        levels = levels[levels.index.get_level_values("k").isin(range(low, high + 1))]
        return by_seed(levels.groupby(["seed", "case"]).mean())

    rows = []
    if PROPOSED in ran:
        clean, knee, beyond = (
            between(PROPOSED, k, k) for k in (NOISE_CLEAN, NOISE_KNEE, NOISE_BEYOND)
        )
        before = (clean - knee) / (NOISE_KNEE - NOISE_CLEAN)
        after = (knee - beyond) / (NOISE_BEYOND - NOISE_KNEE)
        faster = f"faster from k = {NOISE_KNEE} to {NOISE_BEYOND} than up to {NOISE_KNEE}"
        own = _of([PROPOSED], noise)
        for key, where, paper, falls in (
            ("noise: falls", f"up to noise level k = {NOISE_KNEE}", "falls", before),
            (FALLS_FASTER, faster, "faster", after - before),
        ):
            low, high = interval(falls)
            ours = with_interval(mean(falls), low, high, "+.2f")
            claim = f"DSC falls {where}, points per unit of k"
            values = claim, paper, ours, verdict(low, high)
            rows.append(_row(own, key, "2.10", *values))
    if {PROPOSED, NOISE_TRAINED} <= ran:
        trained, plain = (
            between(name, NOISE_KNEE, max(LEVELS)) for name in (NOISE_TRAINED, PROPOSED)
        )
        low, high = interval_of_difference(trained, plain)
        ours = with_interval(mean(trained) - mean(plain), low, high, "+.2f")
        claim = f"training with noise helps from k = {NOISE_KNEE} on, DSC points"
        pair = (NOISE_TRAINED, PROPOSED)
        judged = measured.lead(low, high, NOISE_TRAINED, [PROPOSED], aspp=False)
        values = claim, EXPECTED, ours, judged
        rows.append(_row(_of(pair, noise), NOISE_TRAINING, "2.10", *values))
    return rows


def _convergence(measured: Measured) -> list[Row]:
    """Section 3, Fig. 8: the mean training loss, if all methods have the same learning rates.

    With other rates, or the same over another number of epochs, a loss falls faster or more slowly
    whatever the network. nnU-Net is left out, because its loss is another one. The interval is one
    over seeds.
    """
    compared = [name for name in TABLE3_METHODS if name in OWN_NETWORKS]
    if measured.curves.empty or not set(compared) <= set(measured.curves["model"]):
        return []
    curves = common_runs(measured.curves, compared)
    if not _same_rates(curves):
        return []
    losses = curves.groupby(["model", "seed"])["train_loss"].mean()
    means = losses.groupby("model").mean()
    rival = str(means.drop(PROPOSED).idxmin())
    low, high = interval_over_seeds(losses[rival], losses[PROPOSED])
    ours = f"{means[PROPOSED]:.3f}; {METHODS[rival].title} {means[rival]:.3f}"
    claim = "ASPP-UNet's training loss falls fastest (mean over the epochs)"
    return [_row(curves, "training loss", "3", claim, "fastest", ours, verdict(low, high))]


def _same_rates(curves: pd.DataFrame) -> bool:
    """Whether each epoch has one learning rate, in all runs."""
    runs = curves[["model", "fold", "seed"]].drop_duplicates()
    epochs = curves.groupby("epoch")["learning_rate"].agg(["size", "nunique"])
    return bool((epochs["size"] == len(runs)).all() and (epochs["nunique"] == 1).all())


def _cost(measured: Measured) -> list[Row]:
    """Section 3, Table 4: ASPP-UNet costs "only slightly" more than U-Net-2D."""
    if measured.cost.empty or not {PROPOSED, PLAIN} <= set(measured.cost["model"]):
        return []
    table4 = printed.table4().set_index("model")
    cost = measured.cost.set_index("model")
    own = _of([PLAIN, PROPOSED], measured.cost)
    rows = []
    for key, what, column, own_column in (
        ("cost: parameters", "parameters", "parameters_millions", "parameters"),
        (MORE_TIME, "time per image", "seconds", "seconds"),
    ):
        paper = percent_more(table4[column], METHODS[PROPOSED].title, METHODS[PLAIN].title)
        ours = percent_more(cost[own_column], PROPOSED, PLAIN)
        if np.isnan(ours):  # not measured, for lack of memory
            continue
        judged = REPRODUCED if ours <= SLIGHTLY_PERCENT else NOT_REPRODUCED
        claim = f"ASPP-UNet needs only slightly more {what} than U-Net-2D"
        if key == MORE_TIME:
            claim += f" (paper: K80, ours: {cost['device'].iloc[0]})"
        rows.append(_row(own, key, "3", claim, f"{paper:+.0f} %", f"{ours:+.0f} %", judged))
    return rows
