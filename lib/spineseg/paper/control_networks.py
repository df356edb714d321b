"""Control networks, each with one part of what ASPP adds: how much of its lead do they get?

DSC is in per cent.
"""

import numpy as np
import pandas as pd

from spineseg.evaluation.statistics import interval_of_difference, mean
from spineseg.methods import CONTROL_DEPTH, MECHANISM_METHODS, METHODS, PLAIN, PROPOSED, at_depth
from spineseg.paper.estimates import (
    ENDS,
    UNDEFINED,
    Estimate,
    case_dsc,
    difference_with_interval,
    mean_with_interval,
)
from spineseg.paper.search import twice_as_long

CONTROLS = tuple(name for name in MECHANISM_METHODS if name.startswith("control_"))
LARGEST_SHARE = 100.0  # of a lead: ends of its interval are searched up to here


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
            control, plain, proposed = case_dsc(scores, (name, *ends))
            gain = UNDEFINED if name == ends[0] else difference_with_interval(control, plain)
            gap = UNDEFINED if name == ends[1] else difference_with_interval(proposed, control)
            share = UNDEFINED if name in ends else share_of_lead(control, plain, proposed)
            percent = tuple(100 * value for value in share)
            dsc = mean_with_interval(control)
            seen = rows_of_convolutions(name)
            rows.append((name, seen, *dsc, *gain, *gap, *percent, *control.shape))
    quantities = [f"{what}{end}" for what in ("DSC", "gain", "gap", "share") for end in ENDS]
    return pd.DataFrame(rows, columns=["model", "rows_seen", *quantities, "seeds", "cases"])


def longer_controls(search: pd.DataFrame, epochs: int) -> pd.DataFrame:
    """What twice as many epochs change of the controls and of the networks they stand between.

    `search` holds rows of search.csv, so DSC is that of validation patients. Returns one row per
    network that was tried with both, U-Net-2D first and ASPP-UNet last: `model`, `DSC`,
    `DSC_twice`, and the part of ASPP's lead that it has, in per cent (`share`, `share_twice`).
    There are no rows without U-Net-2D and ASPP-UNet.
    """
    plain, proposed = at_depth(PLAIN, CONTROL_DEPTH), at_depth(PROPOSED, CONTROL_DEPTH)
    table = twice_as_long(search, epochs).reindex([plain, *CONTROLS, proposed]).dropna()
    if not {plain, proposed} <= {*table.index}:
        table = table[:0]
    for end in ("", "_twice"):
        gain = table[f"DSC{end}"] - table[f"DSC{end}"].get(plain, np.nan)
        table[f"share{end}"] = 100 * gain / gain.get(proposed, np.nan)
    return table.rename_axis("model").reset_index()


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
