"""Answers to the exercises of lesson 9."""

import numpy as np

from spineseg.course.exercises.lesson_09 import shares_misnamed

PLAIN, PROPOSED = shares_misnamed()

RIGHT = {
    "9.1": [46, 46.0, np.int64(46)],
    "9.2": [
        (PLAIN, PROPOSED),
        np.array([100 * PLAIN, 100 * PROPOSED]),
        {"U-Net-2D": round(PLAIN, 2), "ASPP-UNet": round(PROPOSED, 2)},
    ],
    "9.3": [
        {
            "parameters": ["wide", "near", "no_pooling"],
            "pooling": ["pooling", "near"],
            "reach": "no_pooling",
        },
        {
            "parameters": {"control_wide", "control_near", "control_no_pooling"},
            "pooling": ("control_pooling", "ASPP with rates 1, 2, 3"),
            "reach": ["ASPP without image pooling"],
        },
    ],
}
WRONG = {
    "9.1": [
        (10, "what U-Net-2D with one stage sees"),
        (28, "also 18 rows below"),
        (37, "the kernel of rate 18 alone"),
        (82, "at full size"),
        (136, "the network of two stages"),
        (50, "one step to the way back"),
    ],
    "9.2": [
        ((1 - PLAIN, 1 - PROPOSED), "the share that is missed"),
        ((PROPOSED, PLAIN), "Give U-Net-2D first"),
        (shares_misnamed("L2"), "another level"),
        ((0.5, 0.5), "What part of the rest"),
        ([PLAIN], "Give two numbers"),
    ],
    "9.3": [
        ({"parameters": ["wide"], "pooling": ["near"], "reach": ["no_pooling"]}, "there are more"),
        (
            {
                "parameters": ["wide", "near", "no_pooling"],
                "pooling": ["pooling", "near"],
                "reach": ["no_pooling", "near"],
            },
            "look at near again",
        ),
        ({"parameters": [], "pooling": [], "reach": []}, "at least one"),
        (["wide"], "Give a dict"),
    ],
}
