"""The nine classes, their colours, and how other label sets map to them.

Class indices follow the paper's Fig. 1: 0 is the background, 1..8 count from the sacrum upwards.
"""

import numpy as np

CLASSES = ("BG", "S", "L5", "L4", "L3", "L2", "L1", "T12", "T11")
FOREGROUND = CLASSES[1:]
NUM_CLASSES = len(CLASSES)
AT_ONCE = 2**20  # voxels are relabelled, to bound the memory
ALL_CLASSES = "all"  # the row of a table that averages over classes

# The colour-blind-safe palette of Okabe and Ito, ordered so that neighbouring vertebrae differ in
# lightness as well as in hue. The background is black.
COLOURS = dict(
    zip(
        CLASSES,
        (
            "#000000",
            "#882255",
            "#E69F00",
            "#0072B2",
            "#F0E442",
            "#D55E00",
            "#56B4E9",
            "#CC79A7",
            "#009E73",
        ),
        strict=True,
    )
)

# A label set is a tuple of names: its element n is the name of label n, "" if the label is unused.
VERTEBRAE = ("L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9")
DISCS = ("L5/S", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1", "T11/T12", "T10/T11", "T9/T10")

# Labels of the MRSpineSeg challenge. Discs are named after their two neighbours.
CHALLENGE_LABELS = ("BG", "S", *VERTEBRAE, *DISCS)


THORACIC = tuple(f"T{number}" for number in range(1, 13))
LUMBAR = tuple(f"L{number}" for number in range(1, 6))
CERVICAL = tuple(f"C{number}" for number in range(1, 8))


def _label_set(names: dict[int, tuple[str, ...]]) -> tuple[str, ...]:
    """The label set with these names from each of these labels on."""
    labels = ["BG"] + [""] * max(first + len(row) - 1 for first, row in names.items())
    for first, row in names.items():
        labels[first : first + len(row)] = row
    return tuple(labels)


# Labels of SPIDER (Zenodo record 10159290): 1..25 vertebrae, 100 the canal, 101..125 partly visible
# vertebrae, 201..225 discs. It does not label the sacrum.
SPIDER_LABELS = _label_set(
    {
        1: VERTEBRAE + ("vertebra above T9",) * (25 - len(VERTEBRAE)),
        100: ("spinal canal",),
        101: ("partly visible vertebra",) * 25,
        201: DISCS + ("disc above T9/T10",) * (25 - len(DISCS)),
    }
)

# Labels of the VerSe challenge (Sekuboyina et al. 2021), which number the vertebrae from the head.
_VERSE = {1: CERVICAL, 8: THORACIC, 20: (*LUMBAR, "L6"), 26: ("S", "coccyx", "T13")}

# The label sets that a mask can have, by the names that `--labels` takes.
LABEL_SETS = {
    "challenge": CHALLENGE_LABELS,
    "spider": SPIDER_LABELS,
    "verse": _label_set(_VERSE),
    # Yaseen et al. 2025: discs after C2 from 63, after C7 from 71, after T12 from 91.
    "totalspineseg": _label_set(
        {
            1: ("spinal cord", "spinal canal"),
            11: CERVICAL,
            21: THORACIC,
            41: LUMBAR,
            50: ("S",),
            63: ("cervical disc",) * 5,
            71: ("thoracic disc",) * 9 + ("T9/T10", "T10/T11", "T11/T12"),
            91: ("T12/L1", "L1/L2", "L2/L3", "L3/L4", "L4/L5"),
            100: ("L5/S",),
        }
    ),
    # The vertebra masks of SPINEPS (Möller et al. 2024): as VerSe, with 100 more for the disc
    # below a vertebra and 200 more for its endplate.
    "spineps": _label_set(
        _VERSE
        | {
            102: ("cervical disc",) * 6 + ("thoracic disc",) * 8,
            116: ("T9/T10", "T10/T11", "T11/T12", "T12/L1"),
            120: ("L1/L2", "L2/L3", "L3/L4", "L4/L5", "L5/S", "disc below L6"),
            202: ("endplate",) * 27,
        }
    ),
}


def relabel(mask: np.ndarray, labels: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Map a mask (any shape, integers 0 and up) from one label set to another, uint8.

    Labels without a name, labels whose name is not in `wanted`, and labels beyond the end of
    `labels` become 0.
    """
    table = [wanted.index(name) if name and name in wanted else 0 for name in labels]
    numbers = np.array([*table, 0], np.uint8)
    relabelled = np.empty(mask.shape, np.uint8)
    old, new = np.ravel(mask), relabelled.reshape(-1)
    for first in range(0, mask.size, AT_ONCE):  # numpy turns indices into eight bytes each
        part = slice(first, first + AT_ONCE)
        numbers.take(old[part], out=new[part], mode="clip")
    return relabelled


def unknown_labels(mask: np.ndarray, labels: tuple[str, ...]) -> list[int]:
    """The labels in a mask that have no name in its label set, sorted."""
    return [label for label in np.unique(mask).tolist() if not any(labels[label : label + 1])]


def challenge_to_class(mask: np.ndarray) -> np.ndarray:
    """Map challenge labels (any shape, integers 0 and up) to class indices, uint8.

    T9, T10, the discs and every label above 19 become background (paper, section 2.1).
    """
    return relabel(mask, CHALLENGE_LABELS, CLASSES)
