"""What the scans look like, and what preprocessing costs."""

from itertools import pairwise

import numpy as np
import pandas as pd

from spineseg.labels import CLASSES, FOREGROUND
from spineseg.paper.findings.words import joined


def on_scans(measured: pd.DataFrame) -> str:
    """How large and how bright the classes are; `measured` is that of `measure_cases`."""
    voxels = measured.groupby("class")["voxels"].sum()
    sentences = [f"Background takes {100 * voxels['BG'] / voxels.sum():.1f} % of all voxels."]
    medians = measured.groupby("class")[["volume_ml", "gray_mean", "gray_sd"]].median()
    bones = medians.reindex([name for name in FOREGROUND[1:] if name in medians.index])
    if not bones.empty:
        volumes, gray = bones["volume_ml"], bones["gray_mean"]
        largest, smallest = str(volumes.idxmax()), str(volumes.idxmin())
        sentences += [
            f"Of the vertebrae, {largest} is the largest (median volume {volumes.max():.1f} mL) "
            f"and {smallest} the smallest ({volumes.min():.1f} mL): a factor of "
            f"{volumes.max() / volumes.min():.1f}.",
            f"Their median gray values range from {gray.min():.0f} to {gray.max():.0f}. Within one "
            f"vertebra, the gray values have an SD of {bones['gray_sd'].median():.0f}.",
        ]
    if "S" in medians.index:
        sentences.append(f"The sacrum has {medians['volume_ml']['S']:.1f} mL.")
    cases = measured["case"].nunique()
    counts = measured["class"].value_counts().reindex(FOREGROUND, fill_value=0)
    lacking = [
        f"{cases - n} lack{'s' * (cases - n == 1)} {name}"
        for name, n in zip(FOREGROUND, counts, strict=True)
        if n < cases
    ]
    sentences.append(
        f"Of {cases} cases, {joined(lacking)}." if lacking else "No case lacks a class."
    )
    return " ".join(sentences)


def on_brightness(histograms: np.ndarray) -> str:
    """How much the gray values of neighbouring classes overlap.

    `histograms` has the number of voxels of each class and gray value, (classes, 256).
    """
    shares = histograms / np.maximum(histograms.sum(1, keepdims=True), 1)
    present = [index for index in range(1, len(CLASSES)) if histograms[index].any()]
    overlaps = [
        np.minimum(shares[lower], shares[upper]).sum() for lower, upper in pairwise(present)
    ]
    if not overlaps:
        return ""
    return (
        f"The histograms of neighbouring classes share {100 * min(overlaps):.0f} to "
        f"{100 * max(overlaps):.0f} % of their area. A threshold between the two that share most "
        f"would be right in at most {50 * (2 - max(overlaps)):.0f} % of the voxels, if it met "
        "equally many of both, and in 50 % by chance."
    )


def on_patches(accuracy: pd.Series, one: str, other: str) -> str:
    """How often two vertebrae are told apart: the share that is right by side of the patch, mm."""
    small, large = accuracy.index.min(), accuracy.index.max()
    return (
        f"The most similar patches of other patients tell {one} from {other} in "
        f"{100 * accuracy[small]:.0f} % of the patches of {small} mm, and in "
        f"{100 * accuracy[large]:.0f} % of those of {large} mm. By chance it would be 50 %."
    )


def on_resampling(loss: pd.DataFrame, slices: int, size: int) -> str:
    """What preprocessing costs held-out cases.

    `loss` is that of `preprocessing_loss`, with the columns `rows` and `columns` of each scan.
    Cases are grouped by whether their slices and their longer side are those of the target grid.
    """
    worst = loss["outside"].max()
    sentences = [
        f"The window holds every labelled voxel of the {len(loss)} held-out cases."
        if worst == 0
        else f"The window cuts off labelled voxels in {(loss['outside'] > 0).sum()} of "
        f"{len(loss)} held-out cases, and at most {100 * worst:.1f} % of a case's."
    ]
    depth = loss["slices"] != slices
    plane = loss[["rows", "columns"]].max(axis=1) != size
    groups = {
        "for cases of the unified shape": ~depth & ~plane,
        "if only the number of slices differs": depth & ~plane,
        "if only the size in plane differs": ~depth & plane,
        "if both differ": depth & plane,
    }
    means = {words: loss.loc[rows, "DSC"].mean() for words, rows in groups.items() if rows.any()}
    listed = joined(
        f"{100 * mean:.1f} % {words} ({groups[words].sum()})" for words, mean in means.items()
    )
    sentences.append(
        f"The mean DSC of a mask that went there and back is {listed}; the number of cases is in "
        f"brackets. Over all {len(loss)} it is {100 * loss['DSC'].mean():.1f} %."
    )
    _, through, within, _ = (means.get(words) for words in groups)
    if through is not None and within is not None:
        costs = 100 * (1 - through), 100 * (1 - within)
        more = "more" if costs[0] > costs[1] else "less"
        sentences.append(
            f"So in these cases resampling the slices costs {more} than resampling in plane: "
            f"{costs[0]:.1f} against {costs[1]:.1f} points."
        )
    return " ".join(sentences)
