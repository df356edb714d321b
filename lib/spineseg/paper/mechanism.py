"""The mechanism: does ASPP help when, and because, the image outgrows what the network sees?

The paper says so and does not test it. Here networks of one to five stages are compared with and
without ASPP, and control networks of two stages have one part of what ASPP adds. All tables are
computed from the stored files of an experiment; DSC is in per cent.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import (
    interval,
    interval_of_difference,
    interval_of_sum,
    mean,
)
from spineseg.evaluation.summary import (
    FAILED,
    common_runs,
    same_runs,
    summarise,
    volume_dsc,
)
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.methods import (
    CONTROL_DEPTH,
    DEPTHS,
    MECHANISM_METHODS,
    METHODS,
    PLAIN,
    PROPOSED,
    at_depth,
)
from spineseg.paper import printed
from spineseg.paper.tables import case_means
from spineseg.profiles import Profile, load_profile

CONTROLS = tuple(name for name in MECHANISM_METHODS if name.startswith("control_"))
LABELLED_VERTEBRAE = FOREGROUND[1:]  # the classes that are named by counting from the sacrum
SAME_RATIO = 0.1  # two shares of the image are alike if they differ by less than this part
FAILING = 100 * FAILED  # per cent: a class with a DSC below this is failing
PARAMETERS = ("aspp_unet_parameters", "deeper_unet_parameters")
COUNTS = ("image_rows", "stages", "rows_seen", *PARAMETERS, "seeds", "cases")  # integers
LARGEST_SHARE = 100.0  # of a lead: ends of its interval are searched up to here
FIELD_SHARES = (0.5, 0.95)  # of the gradient
ENDS = ("", "_low", "_high")  # of the columns of a mean and its interval
Estimate = tuple[float, float, float]  # a mean or difference, and its 95 % interval
UNDEFINED: Estimate = (np.nan, np.nan, np.nan)
Pair = Sequence[pd.DataFrame]  # DSC of U-Net-2D and ASPP-UNet: a row per seed, a column per case


def pairs(models: Iterable[str], profile: Profile) -> dict[int, tuple[str, str]]:
    """U-Net-2D and ASPP-UNet of each number of stages of which both are among the models.

    These are the networks of the mechanism or, at the profile's own number of stages, the methods
    of the paper's tables if the others were not run.
    """
    ran = set(models)
    found: dict[int, tuple[str, str]] = {}
    for stages in sorted({*DEPTHS, profile.stages}):
        named = at_depth(PLAIN, stages), at_depth(PROPOSED, stages)
        own = [(PLAIN, PROPOSED)] if stages == profile.stages else []
        for pair in (named, *own):
            if ran.issuperset(pair):
                found.setdefault(stages, pair)
    return found


def rows_of_convolutions(model: str) -> int:
    """The most rows that an output pixel sees through convolutions, image pooling aside.

    `model` has a number of stages of its own, and ASPP at each of them or at none. ASPP adds its
    largest rate on both sides, in pixels of the stage's maps: 2 x rate x (1 + 2 + 4 + ...) rows of
    the image.
    """
    from torch import nn

    from spineseg.models.counting import on_meta
    from spineseg.models.receptive_field import rows_seen

    stages = METHODS[model].options["stages"]
    parts = on_meta(model).get_submodule("aspp").modules()
    kernels = [part for part in parts if isinstance(part, nn.Conv2d) and part.kernel_size[0] > 1]
    rate = max((kernel.dilation[0] for kernel in kernels), default=0)
    return rows_seen(stages) + 2 * rate * (2**stages - 1)


def depth_table(scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """ASPP's lead over the share of the image that a plain network sees.

    `scores` is the scores.csv of an experiment with this profile. Returns one row per number of
    stages: `image_rows`, `stages`, `rows_seen` (by U-Net-2D), their `ratio` to the image's rows,
    the mean DSC of `unet` and `aspp_unet` with 95 % intervals over seeds and patients
    (`unet_low`, ...), the `lead` of ASPP-UNet with its interval, the `step` from the lead of the
    row before with its interval, and the numbers of `seeds` and `cases`. Rows of several
    experiments can be put below one another.
    """
    from spineseg.models.receptive_field import rows_seen

    rows = []
    before: Pair | None = None
    for stages, names in pairs(scores["model"], profile).items():
        pair = _case_tables(scores, names)
        plain, proposed = (table.to_numpy() for table in pair)
        seen, image = rows_seen(stages), profile.image_size
        dsc = (*_mean_with_interval(plain), *_mean_with_interval(proposed))
        lead = _difference(proposed, plain)
        step = _difference_of_leads(pair, before) if before else UNDEFINED
        rows.append((image, stages, seen, seen / image, *dsc, *lead, *step, *plain.shape))
        before = pair
    estimates = [f"{what}{end}" for what in (PLAIN, PROPOSED, "lead", "step") for end in ENDS]
    columns = ["image_rows", "stages", "rows_seen", "ratio", *estimates, "seeds", "cases"]
    return _typed(pd.DataFrame(rows, columns=columns))


def longer_table(search: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """What twice the profile's epochs change, on validation patients.

    `search` holds rows of search.csv: those of an experiment with this profile and, for the methods
    of Table 3, those of the phantom. Returns one row per number of stages with which both networks
    were trained for both numbers of epochs: `stages`, the mean DSC of `unet` and `aspp_unet` after
    the profile's epochs, and both after twice as many (`unet_twice`, `aspp_unet_twice`), all with
    the learning rate that was chosen.
    """
    chosen = search.loc[search["chosen"], ["model", "learning_rate"]]
    tried = search.merge(chosen).pivot_table("DSC", "model", "epochs")
    lengths = [profile.epochs, 2 * profile.epochs]
    both = tried.reindex(columns=lengths).dropna()
    rows = [
        (stages, *both.loc[list(pair)].to_numpy().ravel("F"))
        for stages, pair in pairs(both.index, profile).items()
    ]
    means = [f"{name}{end}" for end in ("", "_twice") for name in (PLAIN, PROPOSED)]
    return pd.DataFrame(rows, columns=["stages", *means])


def repair_table(scores: pd.DataFrame, repaired: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """`depth_table` of the runs that were also scored with repaired levels.

    `scores` and `repaired` are the scores.csv of an experiment with this profile, without and with
    repair. The columns with repaired levels have the same names and end in `_repaired`.
    """
    same = same_runs(scores, repaired)
    keys = ["image_rows", "stages", "rows_seen", "ratio", "seeds", "cases"]
    tables = (depth_table(each, profile) for each in (same, repaired))
    return next(tables).merge(next(tables), on=keys, suffixes=("", "_repaired"))


def paper_lead() -> tuple[float, float]:
    """The share of the rows that the paper's U-Net-2D sees, and ASPP-UNet's lead over it there.

    The lead is in points of DSC.
    """
    from spineseg.models.receptive_field import rows_seen

    paper = load_profile("paper")
    lead = printed.stated_leads()["DSC", METHODS[PLAIN].title]
    return rows_seen(paper.stages) / paper.image_size, lead


def same_ratio(measured: Iterable[tuple[pd.DataFrame, Profile]]) -> pd.DataFrame:
    """The leads in images of two sizes at nearly the same ratio, side by side.

    `measured` holds the scores.csv and the profile of several experiments, one per image size.
    Returns one row per pair, the smaller image first: `image_rows`, `stages` and `ratio`, each with
    `_small` and `_large`, and the `difference` of the leads (large - small) with its interval, over
    the patients that both experiments tested.
    """
    from spineseg.models.receptive_field import rows_seen

    by_size = {profile.image_size: (scores, profile) for scores, profile in measured}
    ratios = [
        (rows, stages, rows_seen(stages) / rows)
        for rows, (scores, profile) in by_size.items()
        for stages in pairs(scores["model"], profile)
    ]
    found = pd.DataFrame(ratios, columns=["image_rows", "stages", "ratio"])
    both = found.merge(found, how="cross", suffixes=("_small", "_large"))
    near = (both["ratio_large"] / both["ratio_small"] - 1).abs() < SAME_RATIO
    both = both[near & (both["image_rows_small"] < both["image_rows_large"])]
    differences = []
    for row in both.to_dict("records"):
        small, large = (
            _pair_of(*by_size[row[f"image_rows_{size}"]], row[f"stages_{size}"])
            for size in ("small", "large")
        )
        differences.append(_difference_of_leads(large, small))
    both[[f"difference{end}" for end in ENDS]] = np.reshape(differences, (len(both), len(ENDS)))
    return both.reset_index(drop=True)


def _pair_of(scores: pd.DataFrame, profile: Profile, stages: int) -> Pair:
    return _case_tables(scores, pairs(scores["model"], profile)[stages])


def _difference_of_leads(one: Pair, other: Pair) -> Estimate:
    """The lead of the pair `one` minus that of `other`, on the patients of both."""
    shared = one[0].columns.intersection(other[0].columns)
    if shared.empty:
        return UNDEFINED
    (plain, proposed), (others_plain, others_proposed) = (
        [table[shared].to_numpy() for table in pair] for pair in (one, other)
    )
    parts = (proposed, -plain, -others_proposed, others_plain)
    return sum(map(mean, parts)), *interval_of_sum(*parts)


def control_table(scores: pd.DataFrame) -> pd.DataFrame:
    """How much of ASPP's lead each control gets, with CONTROL_DEPTH stages.

    `scores` is the scores.csv of an experiment. Returns one row per network, U-Net-2D first and
    ASPP-UNet last: `model`, `rows_seen` (through convolutions, image pooling aside), mean `DSC`,
    the `gain` over U-Net-2D, the `gap` to ASPP-UNet and the `share` of the lead that the gain is,
    in per cent (see `share_of_lead`). Each of these four has an interval (`DSC_low`, `DSC_high`,
    ...) and is empty if the network is compared with itself. Then the numbers of `seeds` and
    `cases`. There are no rows without U-Net-2D and ASPP-UNet.
    """
    ends = at_depth(PLAIN, CONTROL_DEPTH), at_depth(PROPOSED, CONTROL_DEPTH)
    ran = set(scores["model"])
    rows = []
    if ran.issuperset(ends):
        for name in (ends[0], *(name for name in CONTROLS if name in ran), ends[1]):
            control, plain, proposed = _case_dsc(scores, (name, *ends))
            gain = UNDEFINED if name == ends[0] else _difference(control, plain)
            gap = UNDEFINED if name == ends[1] else _difference(proposed, control)
            share = UNDEFINED if name in ends else share_of_lead(control, plain, proposed)
            percent = tuple(100 * value for value in share)
            dsc = _mean_with_interval(control)
            seen = rows_of_convolutions(name)
            rows.append((name, seen, *dsc, *gain, *gap, *percent, *control.shape))
    quantities = [f"{what}{end}" for what in ("DSC", "gain", "gap", "share") for end in ENDS]
    return pd.DataFrame(rows, columns=["model", "rows_seen", *quantities, "seeds", "cases"])


def share_of_lead(control: np.ndarray, plain: np.ndarray, proposed: np.ndarray) -> Estimate:
    """(control - plain) / (proposed - plain), of means, with its 95 % interval (Fieller 1954).

    Each is (seeds, patients), with the same patients and the same number of seeds. A share s is in
    the interval if the control cannot be told from the mixture (1 - s) plain + s proposed, by
    `interval_of_difference`. All three are NaN if the lead of `proposed` cannot be told from zero.
    """
    if not interval_of_difference(proposed, plain)[0] > 0:
        return UNDEFINED
    share = (mean(control) - mean(plain)) / (mean(proposed) - mean(plain))
    low, high = (_crossing(control, plain, proposed, side) for side in (0, 1))
    return share, low, high


def _crossing(control: np.ndarray, plain: np.ndarray, proposed: np.ndarray, side: int) -> float:
    """The share at which one end of the interval of control - mixture is zero.

    Infinite if it is beyond LARGEST_SHARE: then the lead is almost zero.
    """
    from scipy.optimize import brentq

    def end(share: float) -> float:
        mixture = (1 - share) * plain + share * proposed
        return interval_of_difference(control, mixture)[side]

    if end(-LARGEST_SHARE) * end(LARGEST_SHARE) > 0:
        return float("inf") if side else float("-inf")
    return float(brentq(end, -LARGEST_SHARE, LARGEST_SHARE, xtol=1e-4))


def class_table(scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """DSC of each class, from the sacrum upwards, for each depth with and without ASPP.

    `scores` is the scores.csv of an experiment with this profile. Columns: `stages`, `network`
    (unet or aspp_unet), `class`, mean `DSC` with its interval (`low`, `high`), `seeds`, `cases`.
    """
    dice = volume_dsc(scores)
    parts = []
    for stages, pair in pairs(scores["model"], profile).items():
        summary = summarise(common_runs(dice, pair)).query("`class` in @FOREGROUND")
        networks = dict(zip(pair, (PLAIN, PROPOSED), strict=True))
        parts.append(summary.assign(stages=stages, network=summary["model"].map(networks)))
    columns = ["stages", "network", "class", "mean", "low", "high", "seeds", "cases"]
    table = pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
    percent = {name: 100 * table[name] for name in ("mean", "low", "high")}
    table = table.assign(**percent).rename(columns={"mean": "DSC"})
    order = ["stages", "network", "class"]
    return table.sort_values(order, ascending=[True, False, True], ignore_index=True)


def first_failing(classes: pd.DataFrame) -> pd.DataFrame:
    """The first class from the sacrum upwards whose DSC is below FAILING.

    `classes` is that of `class_table`. Returns one row per number of stages, with the columns unet
    and aspp_unet; empty text if no class is below.
    """
    order = {name: place for place, name in enumerate(FOREGROUND)}
    failing = classes[classes["DSC"] < FAILING]
    first = failing.groupby(["stages", "network"])["class"].agg(
        lambda names: min(names, key=order.__getitem__)
    )
    keys = pd.MultiIndex.from_product([classes["stages"].unique(), [PLAIN, PROPOSED]])
    return first.astype(str).reindex(keys).fillna("").unstack().rename_axis("stages")


def shares(confusion: pd.DataFrame, model: str) -> pd.DataFrame:
    """What a model calls the voxels of each class, in per cent of the class's voxels.

    `confusion` is the confusion.csv of an experiment; voxels are pooled over runs and cases.
    Returns one row per class in truth and one column per class in the prediction.
    """
    own = confusion[confusion["model"] == model]
    voxels = own.pivot_table("voxels", "truth", "predicted", "sum", observed=True)
    voxels = voxels.reindex(index=CLASSES, columns=CLASSES)
    return 100 * voxels.div(voxels.sum(axis=1), axis=0)


def named_table(confusion: pd.DataFrame) -> pd.DataFrame:
    """Missed or misnamed: what each network calls the voxels of each class, in per cent.

    `confusion` is the confusion.csv of an experiment. Returns one row per model and class that
    occurs: `right`, `missed` (called background), called the class `below` or `above` (towards or
    away from the sacrum; 0 if there is none), or any `other` class; and the class's `voxels` in
    truth, pooled over runs and cases.
    """
    rows = []
    for model in confusion["model"].unique():
        called = shares(confusion, model)
        own = confusion[confusion["model"] == model]
        voxels = own.groupby("truth", observed=True)["voxels"].sum()
        for place, name in enumerate(FOREGROUND):
            if not voxels.get(name, 0):
                continue
            row = called.loc[name]
            below, above = FOREGROUND[:place][-1:], FOREGROUND[place + 1 :][:1]
            others = row.drop([name, "BG", *below, *above])
            parts = (row[name], row["BG"], *(row[list(each)].sum() for each in (below, above)))
            rows.append((model, name, *parts, others.sum(), voxels[name]))
    columns = ["model", "class", "right", "missed", "below", "above", "other", "voxels"]
    return pd.DataFrame(rows, columns=columns)


def of_vertebrae(named: pd.DataFrame, model: str) -> pd.Series:
    """The `right`, `missed` and `misnamed` voxels of all vertebrae together, in per cent.

    `named` is that of `named_table`.
    """
    own = named[(named["model"] == model) & named["class"].isin(LABELLED_VERTEBRAE)]
    own = own.assign(misnamed=own[["below", "above", "other"]].sum(axis=1))
    parts = own[["right", "missed", "misnamed"]]
    return parts.mul(own["voxels"], axis=0).sum() / own["voxels"].sum()


def deeper_table(scores: pd.DataFrame, profile: Profile) -> pd.DataFrame:
    """ASPP-UNet of each number of stages against U-Net-2D of one stage more.

    `scores` is the scores.csv of an experiment with this profile. Columns: `image_rows`, `stages`
    (of ASPP-UNet), the DSC and the parameters of both (`aspp_unet`, `aspp_unet_parameters`,
    `deeper_unet`, `deeper_unet_parameters`), the `difference` (ASPP-UNet - deeper U-Net-2D) with
    its interval, `seeds` and `cases`.
    """
    found = pairs(scores["model"], profile)
    rows = []
    for stages, (_, proposed) in found.items():
        if stages + 1 in found:
            deeper = found[stages + 1][0]
            one, other = _case_dsc(scores, (proposed, deeper))
            ours = mean(one), _parameters(proposed, profile)
            deepers = mean(other), _parameters(deeper, profile)
            difference = _difference(one, other)
            rows.append((profile.image_size, stages, *ours, *deepers, *difference, *one.shape))
    columns = ["image_rows", "stages", "aspp_unet", "aspp_unet_parameters", "deeper_unet"]
    columns += ["deeper_unet_parameters", *(f"difference{end}" for end in ENDS), "seeds", "cases"]
    return _typed(pd.DataFrame(rows, columns=columns))


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers with types that do not depend on whether it has rows."""
    return table.astype({name: int if name in COUNTS else float for name in table})


def _parameters(model: str, profile: Profile) -> int:
    from spineseg.models.counting import parameters

    return parameters(model, width=profile.width, stages=profile.stages)


def _case_dsc(scores: pd.DataFrame, models: Sequence[str]) -> list[np.ndarray]:
    """The DSC of each model, (seeds, patients), over the runs that all of them have in common."""
    return [table.to_numpy() for table in _case_tables(scores, models)]


def _case_tables(scores: pd.DataFrame, models: Sequence[str]) -> list[pd.DataFrame]:
    """The same with the seeds as the index and the names of the patients as columns."""
    cases = case_means(common_runs(scores, models)).query("metric == 'DSC'")
    table = cases.pivot(index=["model", "seed"], columns="case", values="value")
    return [table.loc[[model]].droplevel("model") for model in models]


def _mean_with_interval(values: np.ndarray) -> Estimate:
    return mean(values), *interval(values)


def _difference(one: np.ndarray, other: np.ndarray) -> Estimate:
    """The mean difference of two methods, each (seeds, patients), with its interval."""
    return mean(one) - mean(other), *interval_of_difference(one, other)
