"""Exercises of lesson 10: the bound between DSC and IoU, and the time that a card needs."""

from functools import cache
from typing import Any

import numpy as np

from spineseg.course.checks import Exercise, as_number, number
from spineseg.evaluation.metrics import dsc, iou_of
from spineseg.evaluation.result_files import SUMMARY
from spineseg.evaluation.summary import AGGREGATIONS
from spineseg.labels import ALL_CLASSES
from spineseg.methods import PLAIN, PROPOSED
from spineseg.paper.consistency import K80_TFLOPS, WINOGRAD_SAVING
from spineseg.utils.paths import REPOSITORY

STUDY = REPOSITORY / "results" / "phantom-laptop"
PAIRS = 2
EQUAL = 1e-9


def judge_pairs(answer: Any) -> str:
    """Two pairs of masks as (truth, prediction, both), in pixels, or as two masks each."""
    pairs = [_counts(pair) for pair in answer]
    if len(pairs) != PAIRS:
        return f"Give {PAIRS} pairs of masks."
    if any(len(pair) != 3 for pair in pairs):
        return "Give three numbers per pair: pixels of the truth, of the prediction, and in both."
    counts = np.array(pairs, dtype=float)
    truth, predicted, both = counts.T
    if (counts < 0).any() or (both > np.minimum(truth, predicted)).any():
        return "No masks have these numbers: what is in both is at most the smaller of the two."
    if (truth + predicted == 0).any():
        return "The DSC of two empty masks is not defined. Give each pair some pixels."
    least = iou_of(100 * dsc(counts).mean()) / 100
    pooled = both.sum() / (truth + predicted - both).sum()
    if pooled < least - EQUAL:
        return ""
    if abs(pooled - least) <= EQUAL:
        return "Both sides are equal here. Let the pairs differ, one good and one bad, in size too."
    return (
        f"The pooled IoU is {pooled:.2f} and f of the mean DSC is {least:.2f}, so the bound holds. "
        "Pooling gives the large pair more weight: make the large one the bad one."
    )


def _counts(pair: Any) -> tuple[float, ...]:
    """Truth, prediction and both, in pixels; two masks are counted."""
    parts = [np.asarray(part) for part in pair]
    if len(parts) == 2 and parts[0].shape == parts[1].shape and parts[0].ndim:
        truth, predicted = (part.astype(bool) for part in parts)
        return tuple(float(mask.sum()) for mask in (truth, predicted, truth & predicted))
    return tuple(float(part) for part in parts)


@cache
def broken_bounds() -> dict[tuple[str, str], int]:
    """How many rows break the bound, by the aggregations of the mean DSC and the mean IoU."""
    own = SUMMARY.read(STUDY)
    own = own[own["class"] != ALL_CLASSES]
    wide = own.pivot(index=["aggregation", "model", "class"], columns="metric", values="mean")
    by_aggregation = {name: wide.loc[[name]].droplevel(0) for name in AGGREGATIONS}
    return {
        (one, other): int((iou["IoU"] < iou_of(100 * scores["DSC"]) / 100).sum())
        for one, scores in by_aggregation.items()
        for other, iou in by_aggregation.items()
    }


def judge_bounds(answer: Any) -> str:
    """Two numbers of rows."""
    given = [int(each) for each in answer]
    if len(given) != 2:
        return "Give two numbers: both over volumes, and IoU over slices."
    broken = broken_bounds()
    right = [broken["volume", "volume"], broken["volume", "slice"]]
    if given == right:
        return ""
    if given == right[::-1]:
        return "The numbers are right, in the other order. Give that for volumes first."
    if given[0] != right[0]:
        return "Over the same volumes, Jensen's inequality holds. Use f of the DSC, not the DSC."
    if given[1] in (broken["slice", "volume"], broken["volume", "pooled"]):
        return "For the second, take the DSC from the volumes and the IoU from the slices."
    return "The first is right. For the second, count the rows where the IoU is below f(DSC)."


def milliseconds(tflops: float = K80_TFLOPS["boost"]) -> float:
    """The least time that four ASPP modules of half width need."""
    from spineseg.models.counting import gflops

    return (gflops(PROPOSED, branch=0.5) - gflops(PLAIN)) / tflops


def judge_time(answer: Any) -> str:
    """The time in milliseconds; it is computed when it is asked for."""
    right = milliseconds()
    mistakes = [
        (right / 1000, "This is in seconds. Give milliseconds."),
        (milliseconds(K80_TFLOPS["base"]), "This is at the base clock. Take the boosted one."),
        (right * 2, "A core does a multiply-add per cycle, which is two operations."),
        (right / 2, "Take one chip, and count both operations of a multiply-add in the 221 GFLOP."),
        (
            right / WINOGRAD_SAVING,
            "This is with fast algorithms. Here all multiplications are done.",
        ),
        (1 / right, "Divide the work by the rate, not the rate by the work."),
    ]
    for wrong, hint in mistakes:
        if np.isclose(as_number(answer), wrong, rtol=0.01):
            return hint
    otherwise = "Divide 221 GFLOP by the peak in GFLOP/s, and turn seconds into milliseconds."
    return number(right, within=0.01 * right, otherwise=otherwise)(answer)


EXERCISES = {
    "10.1": Exercise(
        judge_pairs,
        "So two metrics that are averaged in different ways can contradict each other.",
    ),
    "10.2": Exercise(
        judge_bounds,
        "Averaged alike, our scores obey the bound. Averaged in two ways, they need not.",
    ),
    "10.3": Exercise(judge_time, "The paper prints 8 ms more, and rounding allows 9."),
}
