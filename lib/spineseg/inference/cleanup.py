"""Repair levels that cannot be, in the mask of a whole scan.

A network labels each slice by itself, so a mask can have a level at two places, a vertebra with two
labels, or levels in another order than in the body. A vertebra is one piece, and levels rise by one
from vertebra to vertebra. A mask that agrees with this is returned as it is.

1. A *piece* is a connected part of one class. The largest piece of a class is its main piece.
2. A small piece that lies within another vertebra takes its class. A small piece far from the main
   piece of its class becomes background.
3. Large pieces that touch and are no larger than one vertebra together are one vertebra.
4. If the vertebrae from below upwards are not in order, they get the rising levels that agree best
   with their labels and distances. The vertebra next to the sacrum is L5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from spineseg.labels import CLASSES

SACRUM, L5 = CLASSES.index("S"), CLASSES.index("L5")
LEVELS = range(L5, len(CLASSES))
SMALL = 0.1  # of the typical volume: a smaller piece is no vertebra
PART = 0.8  # of the typical volume: a larger piece is not a part of a vertebra
WHOLE = 1.3  # of the typical volume: the parts of a vertebra are not larger together
WITHIN = 0.7  # a small piece lies within a vertebra that this part of its surface touches
TOUCHING = 0.12  # of the surface of a part of a vertebra touches the rest
FAR = 25.0  # mm from its main piece: a small piece does not belong to it
NEAR_SACRUM = 12.0  # mm between the sacrum and L5 at most
WRONG_DISTANCE = 0.25  # votes that a level too many or too few between two vertebrae costs


@dataclass
class Piece:
    """A connected part of one class. Positions are in mm along slices, rows, columns."""

    label: int
    volume: float  # mm³
    centre: np.ndarray
    low: np.ndarray  # corners of the box around it
    high: np.ndarray

    def distance(self, other: Piece) -> float:
        """mm between the boxes."""
        gaps = np.maximum(np.maximum(self.low - other.high, other.low - self.high), 0)
        return float(np.linalg.norm(gaps))

    def is_beside(self, other: Piece) -> bool:
        """Whether it is to the side of the other, or in front of or behind it, and not above."""
        across, along, depth = np.abs(self.centre - other.centre)
        return float(np.hypot(across, depth)) >= along


class Vertebra:
    """Pieces that are one bone."""

    def __init__(self, pieces: Sequence[Piece]):
        self.pieces = pieces
        self.volume = sum(piece.volume for piece in pieces)
        volumes = [piece.volume for piece in pieces]
        self.centre = np.average([piece.centre for piece in pieces], axis=0, weights=volumes)
        self.votes = np.zeros(len(CLASSES))  # the share of each class
        for piece in pieces:
            self.votes[piece.label] += piece.volume / self.volume
        self.label = int(self.votes.argmax())


def clean_levels(classes: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The repaired classes of a whole scan, uint8 (slices, rows, columns).

    Rows run from superior to inferior. `spacing` is in mm. A correct mask is returned unchanged.
    """
    if not classes.any():
        return classes
    box = _box(classes > 0)
    numbers, pieces = _pieces(classes[box], np.array(spacing))
    owners = _owners(pieces, _touching(numbers, len(pieces), np.array(spacing)))
    heads = sorted({owner for owner in owners if owner is not None})
    vertebrae = [
        Vertebra([piece for piece, owner in zip(pieces, owners, strict=True) if owner == head])
        for head in heads
    ]
    levels = dict(zip(heads, _levels(vertebrae), strict=True))
    table = [0, *(0 if owner is None else levels[owner] for owner in owners)]
    cleaned = np.zeros_like(classes)
    cleaned[box] = np.array(table, np.uint8)[numbers]
    return cleaned


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    found = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        (indices,) = np.nonzero(mask.any(axis=others))
        found.append(slice(indices[0], indices[-1] + 1))
    return tuple(found)


def _pieces(classes: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, list[Piece]]:
    """The connected parts of each class, and an array with their numbers, counted from 1."""
    from scipy import ndimage  # slow to import

    numbers = np.zeros(classes.shape, np.int32)
    pieces: list[Piece] = []
    for label, box in enumerate(ndimage.find_objects(classes), start=1):
        if box is None:
            continue
        parts, _ = ndimage.label(classes[box] == label, np.ones((3, 3, 3)))
        numbers[box] += np.where(parts > 0, parts + len(pieces), 0)
        start = np.array([each.start for each in box])
        volumes = np.bincount(parts.ravel())[1:] * spacing.prod()
        for number, place in enumerate(ndimage.find_objects(parts), start=1):
            low = start + [each.start for each in place]
            inside = np.nonzero(parts[place] == number)
            centre = low + [axis.mean() for axis in inside]
            high = start + [each.stop for each in place]
            pieces.append(
                Piece(label, volumes[number - 1], centre * spacing, low * spacing, high * spacing)
            )
    return numbers, pieces


def _touching(numbers: np.ndarray, count: int, spacing: np.ndarray) -> np.ndarray:
    """mm² of surface between each two pieces; index 0 is the background."""
    areas = np.zeros((count + 1) ** 2)
    numbers = np.pad(numbers, 1)  # so that the surface at the ends of the box counts
    for axis in range(3):
        along = np.moveaxis(numbers, axis, 0)
        before, after = along[:-1], along[1:]
        differ = before != after
        pairs = before[differ].astype(np.intp) * (count + 1) + after[differ]
        areas += np.bincount(pairs, minlength=areas.size) * spacing.prod() / spacing[axis]
    one_way = areas.reshape(count + 1, count + 1)
    return one_way + one_way.T


def _owners(pieces: list[Piece], touching: np.ndarray) -> list[int | None]:
    """For each piece, the piece that stands for its vertebra; None for what becomes background."""
    mains: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        if piece.volume > pieces[mains.setdefault(piece.label, number)].volume:
            mains[piece.label] = number
    typical = _typical_volume([pieces[number] for number in mains.values()])
    surface = touching.sum(1)[1:]
    share = touching[1:, 1:] / surface[:, None]
    owners: list[int | None] = []
    for number, piece in enumerate(pieces):
        main = mains[piece.label]
        if number == main or piece.label == SACRUM or piece.is_beside(pieces[main]):
            owners.append(main)
        elif piece.volume >= SMALL * typical:
            owners.append(number)
        else:
            others = {other: share[number, other] for other in mains.values()}
            best = max(others, key=lambda other: others[other])
            far = piece.distance(pieces[main]) > FAR
            owners.append(best if others[best] > WITHIN else None if far else main)
    return _joined(owners, pieces, share, typical)


def _typical_volume(pieces: list[Piece]) -> float:
    bones = [piece.volume for piece in pieces if piece.label != SACRUM]
    return float(np.median(bones)) if bones else np.inf


def _joined(
    owners: list[int | None], pieces: list[Piece], share: np.ndarray, typical: float
) -> list[int | None]:
    """Let the largest part of a vertebra own the others."""
    heads = {owner for owner in owners if owner is not None}
    bones = [head for head in heads if pieces[head].label != SACRUM]
    bones.sort(key=lambda head: -pieces[head].volume)
    for index, part in enumerate(bones):
        for rest in bones[:index]:
            together = pieces[part].volume + pieces[rest].volume
            is_part = pieces[part].volume < PART * typical and together < WHOLE * typical
            if is_part and share[part, rest] > TOUCHING:
                owners = [rest if owner == part else owner for owner in owners]
                break
    return owners


def _levels(vertebrae: list[Vertebra]) -> list[int]:
    """The class of each vertebra."""
    found = [each.label for each in vertebrae]
    upwards = sorted(range(len(vertebrae)), key=lambda number: -vertebrae[number].centre[1])
    sacrum = vertebrae[upwards[0]] if found[upwards[0]] == SACRUM else None
    bones = [number for number in upwards if vertebrae[number] is not sacrum]
    if not bones or len(bones) > len(LEVELS):
        return found
    lowest = vertebrae[bones[0]]
    on_sacrum = sacrum is not None and _distance(sacrum, lowest) < NEAR_SACRUM
    labels = [found[number] for number in bones]
    in_order = labels[0] >= L5 and all(low < high for low, high in pairwise(labels))
    if not in_order:
        labels = _rising([vertebrae[number] for number in bones], on_sacrum)
    elif on_sacrum:
        labels = [label - labels[0] + L5 for label in labels]
    for number, level in zip(bones, labels, strict=True):
        found[number] = level
    return found


def _distance(one: Vertebra, other: Vertebra) -> float:
    return min(a.distance(b) for a in one.pieces for b in other.pieces)


def _rising(bones: list[Vertebra], from_l5: bool) -> list[int]:
    """The rising levels that agree best with the votes of the bones, from below upwards."""
    apart = [float(np.linalg.norm(a.centre - b.centre)) for a, b in pairwise(bones)]
    steps = [max(1, round(each / np.median(apart))) for each in apart]
    weights = [min(1, bone.volume / np.median([each.volume for each in bones])) for bone in bones]
    first = [L5] if from_l5 else LEVELS
    paths = {level: (weights[0] * bones[0].votes[level], [level]) for level in first}
    for bone, weight, step in zip(bones[1:], weights[1:], steps, strict=True):
        longer = {}
        for level in LEVELS:
            lower = [
                (score - WRONG_DISTANCE * abs(level - path[-1] - step), path)
                for score, path in paths.values()
                if path[-1] < level
            ]
            if lower:
                score, path = max(lower)
                longer[level] = (score + weight * bone.votes[level], [*path, level])
        paths = longer
    return max(paths.values())[1]
