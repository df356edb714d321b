"""The nine classes, their colours, and how other label sets map to them.

Class indices follow the paper's Fig. 1: 0 is the background, 1..8 count from the sacrum upwards.
"""

import numpy as np

CLASSES = ("BG", "S", "L5", "L4", "L3", "L2", "L1", "T12", "T11")
FOREGROUND = CLASSES[1:]
NUM_CLASSES = len(CLASSES)
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


def _spider_labels() -> tuple[str, ...]:
    """1..25 vertebrae, 100 the canal, 101..125 partly visible vertebrae, 201..225 discs."""
    names = ["BG"] + [""] * 225
    names[1:26] = VERTEBRAE + ("vertebra above T9",) * (25 - len(VERTEBRAE))
    names[100] = "spinal canal"
    names[101:126] = ("partly visible vertebra",) * 25
    names[201:226] = DISCS + ("disc above T9/T10",) * (25 - len(DISCS))
    return tuple(names)


# Labels of SPIDER (Zenodo record 10159290). It does not label the sacrum.
SPIDER_LABELS = _spider_labels()


def relabel(mask: np.ndarray, labels: tuple[str, ...], wanted: tuple[str, ...]) -> np.ndarray:
    """Map a mask (any shape, integers 0 and up) from one label set to another, uint8.

    Labels whose name is not in `wanted`, and labels beyond the end of `labels`, become 0.
    """
    table = [wanted.index(name) if name in wanted else 0 for name in labels]
    return np.array(table, np.uint8)[np.where(mask < len(labels), mask, 0)]


def unknown_labels(mask: np.ndarray, labels: tuple[str, ...]) -> list[int]:
    """The labels in a mask that have no name in its label set, sorted."""
    return [label for label in np.unique(mask).tolist() if not any(labels[label : label + 1])]


def challenge_to_class(mask: np.ndarray) -> np.ndarray:
    """Map challenge labels (any shape, integers 0 and up) to class indices, uint8.

    T9, T10, the discs and every label above 19 become background (paper, section 2.1).
    """
    return relabel(mask, CHALLENGE_LABELS, CLASSES)
