"""Right and wrong answers to the exercises of lesson 4."""

import numpy as np
import pandas as pd

from spineseg.evaluation.metrics import dsc
from spineseg.utils.paths import REPOSITORY

STUDY = REPOSITORY / "results" / "phantom-laptop"
SUMMARY = pd.read_csv(STUDY / "summary.csv").query(
    "model == 'aspp_unet' and aggregation == 'volume' and `class` == 'T11'"
)
DSC, IOU = (SUMMARY.query("metric == @metric")["mean"].item() for metric in ("DSC", "IoU"))
GAP = 100 * (IOU - DSC / (2 - DSC))
RANGES = (
    pd.read_csv(STUDY / "scores.csv")
    .query("model == 'aspp_unet' and seed == 0 and aggregation == 'volume' and metric == 'DSC'")
    .groupby("case")["value"]
    .agg(np.ptp)
    .sort_values()
)
CASE = RANGES.index[-1]


def plain(truth, predicted):
    sizes = truth.sum() + predicted.sum()
    return 2 * (truth & predicted).sum() / sizes if sizes else np.nan


def of_library(truth, predicted):
    return dsc(np.array([truth.sum(), predicted.sum(), (truth & predicted).sum()]))


def ratio(top, below):
    """A function of two masks from two others; 0 if the lower one is 0."""

    def function(truth, predicted):
        divisor = below(truth, predicted)
        return top(truth, predicted) / divisor if divisor else 0.0

    return function


def both(truth, predicted):
    return (truth & predicted).sum()


def sizes(truth, predicted):
    return truth.sum() + predicted.sum()


def union(truth, predicted):
    return (truth | predicted).sum()


RIGHT = {
    "4.1": [plain, of_library, lambda truth, predicted: 100 * plain(truth, predicted)],
    "4.2": [GAP, round(GAP, 1), np.array([GAP]), pd.Series([GAP])],
    "4.3": [CASE, CASE.upper(), [CASE], int(CASE.removeprefix("Case"))],
}
WRONG = {
    "4.1": [
        (0.57, "without brackets"),
        (ratio(both, union), "This is the IoU"),
        (ratio(both, sizes), "factor 2 is missing"),
        (ratio(both, lambda t, p: t.sum()), "recall"),
        (ratio(both, lambda t, p: p.sum()), "precision"),
        (lambda t, p: (t == p).mean(), "Only shared voxels"),
        (ratio(lambda t, p: 2 * both(t, p), sizes), "both masks are empty"),
        (lambda t, p: None, "returns nothing"),
        (lambda t, p: 0.3, "not 0.300"),
    ],
    "4.2": [
        (-GAP, "other way round"),
        (GAP / 100, "This is a share"),
        (100 * (IOU - DSC), "IoU minus DSC"),
        (100 * IOU, "the mean IoU"),
        (0, "aggregation volume"),
    ],
    "4.3": [
        (RANGES.index[0], "differ least"),
        ("Case9999", "no test patient"),
        (RANGES.index[-2], ""),
        ("T11", "no test patient"),
    ],
}
