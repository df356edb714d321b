"""Repair levels that cannot be, in the mask of a whole scan.

A network labels each slice by itself, so a mask can have a level at two places, a vertebra with two
labels, or levels in another order than in the body. A vertebra is one piece, and levels rise from
vertebra to vertebra: by one, or by more where a vertebra was not found. A mask that agrees with
this is returned as it is.

1. A *piece* is a connected part of one class. The largest piece of a class is its main piece.
2. A small piece that lies within another vertebra takes its class. A small piece far from the main
   piece of its class becomes background.
3. Large pieces that touch and are no larger than one vertebra together are one vertebra.
4. Vertebrae at the same place in plane, in different slices, are one vertebra.
5. If the vertebrae from below upwards are not in order, they get the rising levels that agree best
   with their labels and distances. The vertebra next to the sacrum is L5. A piece that fits
   nowhere, or that lies below the sacrum, becomes background.
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
MOST_BONES, MOST_PIECES = 40, 5000  # more are noise
LEFT_OUT = 2.5  # votes that a bone of usual volume costs that gets no level
WRONG_DISTANCE = 10.0  # votes that a level too many or too few between two vertebrae costs
SAME_PLACE = 12.0  # mm in plane: vertebrae are farther apart


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
        if self.label == SACRUM:  # all its pieces are one, also those that are far away by mistake
            self.centre = max(pieces, key=lambda piece: piece.volume).centre


def clean_levels(classes: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The repaired classes of a whole scan, uint8 (slices, rows, columns).

    Rows run from superior to inferior. `spacing` is in mm. A correct mask is returned unchanged.
    """
    if not classes.any():
        return classes
    box = _box(classes)
    numbers, pieces = _pieces(classes[box], np.array(spacing))
    if not pieces:
        return classes
    mains = _mains(pieces)
    typical = _typical_volume([pieces[number] for number in mains.values()])
    bones = _bones(pieces, mains, typical)
    share = _touching(numbers, len(pieces), bones, np.array(spacing))
    owners = _joined(_owners(pieces, mains, share), pieces, share, typical)
    owners = _at_one_place(owners, pieces)
    heads = sorted({owner for owner in owners if owner is not None})
    vertebrae = [
        Vertebra([piece for piece, owner in zip(pieces, owners, strict=True) if owner == head])
        for head in heads
    ]
    levels: dict[int | None, int] = {None: 0, **dict(zip(heads, _levels(vertebrae), strict=True))}
    table = [0, *(levels[owner] for owner in owners)]
    cleaned = np.zeros_like(classes)
    cleaned[box] = np.array(table, np.uint8)[numbers]
    return cleaned


def _box(classes: np.ndarray) -> tuple[slice, ...]:
    """The box around everything that is not background."""
    slices = [index for index, plane in enumerate(classes) if plane.any()]
    flat = np.zeros(classes.shape[1:], classes.dtype)
    for index in slices:
        np.maximum(flat, classes[index], out=flat)
    ends = [np.array(slices), np.flatnonzero(flat.any(1)), np.flatnonzero(flat.any(0))]
    return tuple(slice(found[0], found[-1] + 1) for found in ends)


def _pieces(classes: np.ndarray, spacing: np.ndarray) -> tuple[np.ndarray, list[Piece]]:
    """The connected parts of each class, and an array with their numbers, counted from 1.

    No parts if there are more than MOST_PIECES: then the mask is noise.
    """
    from scipy import ndimage  # slow to import

    numbers = np.zeros(classes.shape, np.int32)
    pieces: list[Piece] = []
    for label, box in enumerate(ndimage.find_objects(classes), start=1):
        if box is None:
            continue
        parts, count = ndimage.label(classes[box] == label, np.ones((3, 3, 3)))
        if len(pieces) + count > MOST_PIECES:
            return numbers, []
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


def _touching(
    numbers: np.ndarray, count: int, bones: list[int], spacing: np.ndarray
) -> dict[int, np.ndarray]:
    """For each of the pieces `bones`, the share of each piece's surface that touches it."""
    column = np.zeros(count + 1, np.intp)
    column[np.array(bones) + 1] = np.arange(1, len(bones) + 1)
    areas = np.zeros((count + 1) * (len(bones) + 1))
    numbers = np.pad(numbers, 1)  # so that the surface at the ends of the box counts
    for axis in range(3):
        along = np.moveaxis(numbers, axis, 0)
        differ = along[:-1] != along[1:]
        before, after = along[:-1][differ], along[1:][differ]
        for one, other in ((before, after), (after, before)):
            pairs = one * (len(bones) + 1) + column[other]
            areas += np.bincount(pairs, minlength=areas.size) * spacing.prod() / spacing[axis]
    by_piece = areas.reshape(count + 1, -1)[1:]
    shares = by_piece / by_piece.sum(1, keepdims=True)
    return {bone: shares[:, number] for number, bone in enumerate(bones, start=1)}


def _mains(pieces: list[Piece]) -> dict[int, int]:
    """The largest piece of each class."""
    mains: dict[int, int] = {}
    for number, piece in enumerate(pieces):
        if piece.volume > pieces[mains.setdefault(piece.label, number)].volume:
            mains[piece.label] = number
    return mains


def _bones(pieces: list[Piece], mains: dict[int, int], typical: float) -> list[int]:
    """The pieces that can be a vertebra or a part of one: the main ones and the largest others."""
    large = [n for n, piece in enumerate(pieces) if piece.volume >= SMALL * typical]
    large.sort(key=lambda number: -pieces[number].volume)
    return sorted({*large[:MOST_BONES], *mains.values()})


def _owners(
    pieces: list[Piece], mains: dict[int, int], share: dict[int, np.ndarray]
) -> list[int | None]:
    """For each piece, the piece that stands for its vertebra; None for what becomes background."""
    owners: list[int | None] = []
    for number, piece in enumerate(pieces):
        main = mains[piece.label]
        if number == main or piece.label == SACRUM or piece.is_beside(pieces[main]):
            owners.append(main)
        elif number in share:
            owners.append(number)
        else:
            best = max(mains.values(), key=lambda other: share[other][number])
            is_far = piece.distance(pieces[main]) > FAR
            owners.append(best if share[best][number] > WITHIN else None if is_far else main)
    return owners


def _typical_volume(pieces: list[Piece]) -> float:
    bones = [piece.volume for piece in pieces if piece.label != SACRUM]
    return float(np.median(bones)) if bones else np.inf


def _joined(
    owners: list[int | None], pieces: list[Piece], share: dict[int, np.ndarray], typical: float
) -> list[int | None]:
    """Let the largest part of a vertebra own the others, also those that touch only each other."""
    heads = {owner for owner in owners if owner is not None}
    bones = [head for head in heads if pieces[head].label != SACRUM]
    bones.sort(key=lambda head: -pieces[head].volume)
    head_of = {bone: bone for bone in bones}
    volume = {bone: pieces[bone].volume for bone in bones}
    for index, part in enumerate(bones):
        for other in bones[:index]:
            large, small = sorted((head_of[part], head_of[other]), key=bones.index)
            together = volume[large] + volume[small]
            is_part = volume[small] < PART * typical and together < WHOLE * typical
            if large != small and is_part and share[other][part] > TOUCHING:
                head_of |= {bone: large for bone, head in head_of.items() if head == small}
                volume[large] = together
    return [owner if owner is None else head_of.get(owner, owner) for owner in owners]


def _at_one_place(owners: list[int | None], pieces: list[Piece]) -> list[int | None]:
    """Let vertebrae at the same place in plane have one owner, the largest."""
    heads = {owner for owner in owners if owner is not None}
    bones = [head for head in heads if pieces[head].label != SACRUM]
    bones.sort(key=lambda head: -pieces[head].volume)
    for index, part in enumerate(bones):
        apart = [
            float(np.linalg.norm(pieces[part].centre[1:] - pieces[rest].centre[1:]))
            for rest in bones[:index]
        ]
        if apart and min(apart) < SAME_PLACE:
            rest = bones[int(np.argmin(apart))]
            owners = [owners[rest] if owner == part else owner for owner in owners]
    return owners


def _levels(vertebrae: list[Vertebra]) -> list[int]:
    """The class of each vertebra."""
    found = [each.label for each in vertebrae]
    upwards = sorted(
        range(len(vertebrae)), key=lambda number: vertebrae[number].centre[1], reverse=True
    )
    place = _place_of_sacrum([vertebrae[number] for number in upwards])
    if place is None:
        bones = upwards
    else:
        bones = upwards[place + 1 :]
        for number in upwards[:place]:
            found[number] = 0
    if not bones:
        return found
    standing = [vertebrae[number] for number in bones]
    on_sacrum = place is not None and _is_on(vertebrae[upwards[place]], standing)
    labels = [found[number] for number in bones]
    in_order = labels[0] >= L5 and all(low < high for low, high in pairwise(labels))
    if not in_order:
        labels = _rising(standing, on_sacrum)
    elif on_sacrum:
        labels = [label - labels[0] + L5 for label in labels]
    for number, level in zip(bones, labels, strict=True):
        found[number] = level
    return found


def _place_of_sacrum(upwards: Sequence[Vertebra]) -> int | None:
    """The place of the sacrum among the vertebrae from below upwards.

    Less bone than its own can lie below it, by mistake. None if more does, or if there is none.
    """
    for place, each in enumerate(upwards):
        if each.label == SACRUM:
            below = sum(other.volume for other in upwards[:place])
            return place if below < each.volume else None
    return None


def _is_on(sacrum: Vertebra, bones: list[Vertebra]) -> bool:
    """Whether there is no room for a vertebra between the sacrum and the lowest of the bones."""
    top = min(piece.low[1] for piece in sacrum.pieces)
    return len(bones) > 1 and top - bones[0].centre[1] < float(np.median(_apart(bones)))


def _apart(bones: list[Vertebra]) -> list[float]:
    """mm between the centres of neighbours."""
    return [float(np.linalg.norm(one.centre - other.centre)) for one, other in pairwise(bones)]


def _rising(bones: list[Vertebra], from_l5: bool) -> list[int]:
    """The rising levels that agree best with the votes of the bones, from below upwards.

    A bone that fits nowhere becomes background (0).
    """
    usual = np.median([bone.volume for bone in bones])
    weights = [min(1.0, bone.volume / usual) for bone in bones]
    pitch = np.median(
        _apart([b for b, w in zip(bones, weights, strict=True) if w > 0.5]) or [np.inf]
    )
    paths: list[tuple[float, list[int]]] = [(0.0, [])]  # score, and a level for each bone so far
    for number, (bone, weight) in enumerate(zip(bones, weights, strict=True)):
        ends: dict[tuple[int, int], tuple[float, list[int]]] = {}
        for score, path in paths:
            kept = [index for index, level in enumerate(path) if level]
            below = path[kept[-1]] if kept else 0
            options = [(score - LEFT_OUT * weight**2, 0)]
            for level in [L5] if from_l5 and not kept else LEVELS:
                if level > below:
                    apart = np.linalg.norm(bone.centre - bones[kept[-1]].centre) if kept else 0
                    steps = max(1, round(apart / pitch)) if kept else level
                    wrong = WRONG_DISTANCE * abs(level - below - steps)
                    options.append((score + weight * bone.votes[level] - wrong, level))
            for total, level in options:
                last = (number, level) if level else (kept[-1] if kept else -1, below)
                ends[last] = max(ends.get(last, (-np.inf, [])), (total, [*path, level]))
        paths = list(ends.values())
    return max(paths)[1]
