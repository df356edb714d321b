"""Which levels a mask marks: in which label set, in which order, or all with one label."""

import shlex
from collections.abc import Collection, Mapping
from itertools import pairwise
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.labels import CHALLENGE_LABELS, CLASSES, FOREGROUND, LABEL_SETS, NUM_CLASSES
from spineseg.utils.errors import Problem, UserError

LISTED_LABELS = 6  # at most, in a message
MANY_PIECES = 3  # of one level
MIN_PIECE = 0.1  # of the largest piece's voxels; smaller ones are specks


def labels_in(mask: sitk.Image) -> list[int]:
    """The labels above 0 that occur in a mask of integers, sorted."""
    counts = np.bincount(sitk.GetArrayViewFromImage(mask).ravel())
    return [label for label in np.flatnonzero(counts).tolist() if label]


def other_label_set(found: Collection[int], labels: tuple[str, ...]) -> str:
    """The name in `LABEL_SETS` of the set that fits the labels found better, or ''.

    More of them mean one structure there, and they mark as many of the classes or more.
    """
    best, best_fit = "", (_unclear(found, labels), 0)
    for name, other in LABEL_SETS.items():
        fit = _unclear(found, other), -_classes(found, other)
        enough = _classes(found, other) >= max(1, _classes(found, labels))
        if enough and (fit < best_fit if best else fit[0] < best_fit[0]):
            best, best_fit = name, fit
    return best


def _unclear(found: Collection[int], labels: tuple[str, ...]) -> int:
    """The number of labels that do not mean exactly one structure."""
    return sum(label >= len(labels) or labels.count(labels[label]) > 1 for label in found)


def _classes(found: Collection[int], labels: tuple[str, ...]) -> int:
    """The number of classes that these labels mark."""
    return sum(label < len(labels) and labels[label] in FOREGROUND for label in found)


def refuse_other_labels(mask: sitk.Image, labels: tuple[str, ...], path: Path) -> None:
    """Raise UserError, naming `path`, if the labels of a mask look like those of another set."""
    found = labels_in(mask)
    if name := other_label_set(found, labels):
        what = f"its labels ({_listed(found)}) look like those of {name}"
        raise UserError.at(path, what, f"`spineseg data convert` with --labels {name} changes them")


def label_problems(
    root: Path, found: Mapping[Path, list[int]], labels: tuple[str, ...], declared: bool
) -> list[Problem]:
    """What is wrong with the labels of a whole folder, given those of each mask.

    One line per other label set that masks look like, unless the labels were `declared`; else one
    line if no mask marks any class.
    """
    problems = []
    marked = {path: each for path, each in found.items() if each}
    likely: dict[str, list[Path]] = {}
    for path, each in marked.items():
        likely.setdefault("" if declared else other_label_set(each, labels), []).append(path)
    for name, paths in sorted(likely.items()):
        if not name:
            continue
        listed = _listed({label for path in paths for label in found[path]})
        what = f"{len(paths)} of {len(marked)} masks have labels ({listed}) like those of {name}"
        remedy = _convert(root, name)
        if len(paths) < len(marked):
            what = f"{what}, such as {paths[0].name}"
            remedy = f"if all masks have them, {remedy}; else relabel these"
        problems.append(Problem(root, what, remedy))
    if found and not problems and not any(_classes(each, labels) for each in found.values()):
        everything = {label for each in found.values() for label in each}
        what = f"no mask marks any of {', '.join(FOREGROUND)} (labels: {_listed(everything)})"
        remedy = f"relabel them, or name their label set: {_convert(root, 'NAME')}"
        problems.append(Problem(root, what, remedy))
    return problems


def _convert(root: Path, name: str) -> str:
    return f"`spineseg data convert {shlex.quote(str(root))} OUT --labels {name}`"


def _listed(labels: Collection[int]) -> str:
    shown = [str(label) for label in sorted(labels)[:LISTED_LABELS]]
    return ", ".join(shown + ["…"] * (len(labels) > LISTED_LABELS)) or "none"


def order_note(classes: np.ndarray, path: Path) -> Problem | None:
    """A note if the classes of a canonical mask (slices, rows, columns) are not in order.

    Ordered by the mean row of their voxels, S is lowest, then L5, …, T11. None of them is in
    several pieces with rows without it in between.
    """
    by_row = np.array(
        [np.bincount(row.ravel(), minlength=NUM_CLASSES) for row in classes.swapaxes(0, 1)]
    )
    present = np.flatnonzero(by_row.sum(0)[1:]) + 1
    rows = np.arange(len(by_row)) @ by_row[:, present] / by_row[:, present].sum(0)
    if not all(above < below for below, above in pairwise(rows)):
        upwards = ", ".join(CLASSES[present[index]] for index in np.argsort(-rows))
        what = f"its levels are not in anatomical order: from below {upwards}"
        return Problem(path, what, "accepted, please check the labels and the orientation")
    starts = np.diff(by_row[:, present] > 0, axis=0, prepend=False) & (by_row[:, present] > 0)
    pieces = starts.sum(0)
    if pieces.size and pieces.max() >= MANY_PIECES:
        what = f"{CLASSES[present[pieces.argmax()]]} is in {pieces.max()} pieces one above another"
        return Problem(path, what, "accepted, please check that each level has its own label")
    return None


def label_from_below(
    mask: sitk.Image, levels: tuple[str, ...], path: Path, notes: list[Problem] | None = None
) -> sitk.Image:
    """Give each piece of a mask with one label the challenge's label of its level, from below.

    A piece is what hangs together by faces of voxels; below is along the patient's long axis.
    Specks, pieces of less than a tenth of the largest one's voxels, become background and are added
    to `notes`. Raises UserError, naming `path`, if the number of pieces is not that of `levels`, or
    if the mask has more labels than one.
    """
    if len(found := labels_in(mask)) > 1:
        what = f"has the labels {_listed(found)} instead of one for all vertebrae"
        raise UserError.at(path, what, "check that it is the set's own mask")
    pieces = sitk.ConnectedComponent(mask != 0, False)
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(pieces)
    sizes = {label: shapes.GetNumberOfPixels(label) for label in shapes.GetLabels()}
    kept = [label for label, size in sizes.items() if size >= MIN_PIECE * max(sizes.values())]
    if len(kept) != len(levels):
        what = f"has {len(kept)} separate vertebrae instead of {len(levels)}"
        raise UserError.at(path, what, "mend the mask, or remove it and its scan")
    if notes is not None and len(kept) < len(sizes):
        notes.append(Problem(path, f"{len(sizes) - len(kept)} specks", "become background"))
    upwards = sorted(kept, key=lambda label: shapes.GetCentroid(label)[2])
    table = {label: 0 for label in sizes}
    table |= {p: CHALLENGE_LABELS.index(level) for p, level in zip(upwards, levels, strict=True)}
    return sitk.Cast(sitk.ChangeLabel(pieces, table), sitk.sitkUInt8)
