"""The vocabulary: nine classes, their colours, and the maps from other label sets.

Class indices follow the paper's Fig. 1: 0 is the background, 1..8 run from the sacrum upwards.
"""

import numpy as np

CLASSES = ("BG", "S", "L5", "L4", "L3", "L2", "L1", "T12", "T11")
FOREGROUND = CLASSES[1:]
NUM_CLASSES = len(CLASSES)

# Okabe-Ito's colour-blind-safe palette, ordered so that neighbouring vertebrae differ in
# lightness as well as in hue; the background is black.
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

# The labels stored in the MRSpineSeg challenge's masks. Discs are named by their two neighbours.
CHALLENGE_LABELS = (
    "BG",
    *("S", "L5", "L4", "L3", "L2", "L1", "T12", "T11", "T10", "T9"),
    *("L5/S", "L4/L5", "L3/L4", "L2/L3", "L1/L2", "T12/L1", "T11/T12", "T10/T11", "T9/T10"),
)

CHALLENGE_TO_CLASS = np.array(
    [CLASSES.index(name) if name in CLASSES else 0 for name in CHALLENGE_LABELS], dtype=np.uint8
)


def challenge_to_class(mask: np.ndarray) -> np.ndarray:
    """Map challenge labels (any shape, integers 0 and up) to class indices, uint8.

    T9, T10, the discs and every label above 19 become background (paper, section 2.1).
    """
    known = mask < len(CHALLENGE_TO_CLASS)
    return CHALLENGE_TO_CLASS[np.where(known, mask, 0)]
