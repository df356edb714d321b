"""The mechanism: does ASPP help when, and because, the image outgrows what the network sees?

The paper says so and does not test it. Here networks of one to five stages are compared with and
without ASPP; the networks of `control_networks` have one part of it. All tables are computed from
the stored files of an experiment; DSC is in per cent.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import interval_of_sum, mean
from spineseg.evaluation.summary import same_runs
from spineseg.methods import DEPTHS, METHODS, PLAIN, PROPOSED, at_depth
from spineseg.paper import printed
from spineseg.paper.estimates import (
    ENDS,
    UNDEFINED,
    Estimate,
    case_dsc,
    case_tables,
    difference_with_interval,
    mean_with_interval,
)
from spineseg.paper.search import twice_as_long
from spineseg.profiles import Profile, load_profile

SAME_RATIO = 0.1  # two shares of the image are alike if they differ by less than this part
PARAMETERS = ("aspp_unet_parameters", "deeper_unet_parameters")
COUNTS = ("image_rows", "stages", "rows_seen", *PARAMETERS, "seeds", "cases")  # integers
FIELD_SHARES = (0.5, 0.95)  # of the gradient
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
        pair = case_tables(scores, names)
        plain, proposed = (table.to_numpy() for table in pair)
        seen, image = rows_seen(stages), profile.image_size
        dsc = (*mean_with_interval(plain), *mean_with_interval(proposed))
        lead = difference_with_interval(proposed, plain)
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
    both = twice_as_long(search, profile.epochs)
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
            one, other = case_dsc(scores, (proposed, deeper))
            ours = mean(one), _parameters(proposed, profile)
            deepers = mean(other), _parameters(deeper, profile)
            difference = difference_with_interval(one, other)
            rows.append((profile.image_size, stages, *ours, *deepers, *difference, *one.shape))
    columns = ["image_rows", "stages", "aspp_unet", "aspp_unet_parameters", "deeper_unet"]
    columns += ["deeper_unet_parameters", *(f"difference{end}" for end in ENDS), "seeds", "cases"]
    return _typed(pd.DataFrame(rows, columns=columns))


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
    return case_tables(scores, pairs(scores["model"], profile)[stages])


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


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """A table of numbers with types that do not depend on whether it has rows."""
    return table.astype({name: int if name in COUNTS else float for name in table})


def _parameters(model: str, profile: Profile) -> int:
    from spineseg.models.counting import parameters

    return parameters(model, width=profile.width, stages=profile.stages)
