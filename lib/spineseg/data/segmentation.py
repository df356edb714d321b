"""Segmentations of 3D Slicer (.seg.nrrd): their segments have names, and numbers of their own.

Slicer numbers the segments of a file 1, 2, …, in the order in which they were made. Segments that
overlap are stored in several layers. The fields are described in Slicer's developer guide,
slicer.readthedocs.io/en/latest/developer_guide/modules/segmentations.html.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from spineseg.utils.errors import Problem, UserError

FIELD = re.compile(r"segment(\d{1,6})_(name|labelvalue|layer)")
VERTEBRA_WORDS = re.compile("vertebr(al|ae|a)|body|[^a-z0-9]")
DISC = re.compile("(?:intervertebral)?dis[ck]((?:[tl][0-9]+)(?:[tl][0-9]+|s1?))")
SACRUM = re.compile("sacrum$|s1$")
LISTED_NAMES = 9
NO_LABEL = 1000  # this and larger numbers are no labels of any set
NAME_SEGMENTS = "name the segments S, L5, L4, ... in 3D Slicer and save again"
REMOVE_OVERLAP = "in 3D Slicer's Segment Editor, let each segment overwrite the others, and save"


class Segment(NamedTuple):
    """One segment: its name, and its label and the layer in which it is drawn."""

    name: str
    value: int
    layer: int


def find_segments(fields: Mapping[str, bytes]) -> tuple[Segment, ...]:
    """The segments that the fields of a header (keys in lower case) describe."""
    found: dict[int, dict[str, str]] = {}
    for key, value in fields.items():
        if field := FIELD.fullmatch(key):
            text = value.decode("utf-8", "replace").removeprefix("=").strip()
            found.setdefault(int(field[1]), {})[field[2]] = text
    return tuple(
        Segment(each.get("name", ""), int(each["labelvalue"]), int(each.get("layer", "0")))
        for _, each in sorted(found.items())
        if all(re.fullmatch("[0-9]{1,6}", each.get(k, "0")) for k in ("labelvalue", "layer"))
        and "labelvalue" in each
    )


def merge_layers(
    image: sitk.Image, segments: Sequence[Segment], labels: tuple[str, ...], path: Path
) -> tuple[sitk.Image, list[Segment]]:
    """One layer that holds all segments, and the segments with their labels in it.

    A segment keeps its label, unless two have the same one in different layers. All then get
    numbers that are no labels, if one has a name of the label set `labels`, so that only names
    count. Raises UserError if none has, and if two segments overlap.
    """
    layers = sitk.GetArrayViewFromImage(image)
    drawn = [segment for segment in segments if segment.layer < layers.shape[3]]
    same = [each for each in drawn if [other.value for other in drawn].count(each.value) > 1]
    merged = [segment._replace(layer=0) for segment in drawn]
    if same:
        if not any(plain_name(each.name) in _numbers(labels) for each in drawn):
            what = f"its segments {same[0].name} and {same[1].name} have the same label"
            raise UserError.at(path, what, NAME_SEGMENTS)
        merged = [Segment(each.name, number, 0) for number, each in enumerate(drawn, NO_LABEL)]
    merged_labels = np.zeros(layers.shape[:3], np.uint16)
    names: dict[int, str] = {}
    for old, new in zip(drawn, merged, strict=True):
        voxels = layers[..., old.layer] == old.value
        if other := int(merged_labels[voxels].max(initial=0)):
            what = f"its segments {names[other]} and {new.name} overlap"
            raise UserError.at(path, what, REMOVE_OVERLAP)
        merged_labels[voxels] = new.value
        names[new.value] = new.name
    result = sitk.GetImageFromArray(merged_labels)
    result.CopyInformation(image)
    return result, merged


def label_by_name(
    mask: sitk.Image,
    segments: Sequence[Segment],
    labels: tuple[str, ...],
    path: Path,
    notes: list[Problem],
) -> sitk.Image:
    """The mask with the numbers that its segments' names have in a label set.

    It stays as it is if no segment has a name of the set, or if all names agree with their labels.
    Otherwise segments with other names become background. Adds what was done to `notes`, and which
    segments of other names are read by their numbers.
    """
    known = _numbers(labels)
    numbers = {segment.value: known.get(plain_name(segment.name), 0) for segment in segments}
    named = {value: number for value, number in numbers.items() if number}
    if all(value == number for value, number in named.items()):
        present = set(np.unique(sitk.GetArrayViewFromImage(mask)).tolist())
        unnamed = [each for each in segments if each.value in present - named.keys()]
        notes += _read_by_number(unnamed, labels if named else (), path)
        return mask
    others = [segment.name for segment in segments if not numbers[segment.value]]
    what = f"labels are read by the names of its {len(named)} segments"
    remedy = "their own numbers do not count"
    if others:
        remedy += f"; background: {', '.join(others[:LISTED_NAMES])}"
    notes.append(Problem(path, what, remedy))
    values = sitk.GetArrayViewFromImage(mask)
    table = np.zeros(int(values.max()) + 1, np.uint16)
    for value, number in named.items():
        table[value : value + 1] = number
    result = sitk.GetImageFromArray(table[values])
    result.CopyInformation(mask)
    return result


def _read_by_number(
    segments: Sequence[Segment], labels: tuple[str, ...], path: Path
) -> list[Problem]:
    """A note on each of these segments of other names whose number is a label."""
    meant = {number: label for number, label in enumerate(labels) if number and label}
    return [
        Problem(
            path,
            f"its segment {each.name} has the number of {meant[each.value]} and is read as it",
            "if that is wrong, rename, renumber or remove it",
        )
        for each in segments
        if each.value in meant
    ]


def _numbers(labels: tuple[str, ...]) -> dict[str, int]:
    """The first number of each name in a label set."""
    numbers: dict[str, int] = {}
    for number, name in enumerate(labels):
        if number and name:
            numbers.setdefault(plain_name(name), number)
    return numbers


def plain_name(name: str) -> str:
    """A structure's name in one spelling: `vertebra L5`, `vertebrae_L5`, `L5` -> l5, S1 -> s."""
    text = VERTEBRA_WORDS.sub("", name.lower())
    if disc := DISC.fullmatch(text):
        text = disc[1]
    return SACRUM.sub("s", text)
