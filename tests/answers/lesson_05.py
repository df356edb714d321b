"""Answers to the exercises of lesson 5: right ones, and wrong ones with a phrase of their hint."""

from spineseg.course.exercises.lesson_05 import seed_means

MEANS = seed_means("aspp_unet_4")
RANGE = float(MEANS.max() - MEANS.min())

RIGHT = {
    "5.1": [11, 11.0, "11"],
    "5.2": [
        ["4", "3+4", "2+3+4", "1+2+3+4"],
        ("ASPP 1+2+3+4", "ASPP 2+3+4", "ASPP 3+4", "ASPP 4"),
        [(4,), (3, 4), (2, 3, 4), (1, 2, 3, 4)],
        {"4", "3 + 4", "2 + 3 + 4", "1 + 2 + 3 + 4"},
        "4, 3+4, 2+3+4, 1+2+3+4",
    ],
    "5.3": [RANGE, round(RANGE, 2), MEANS.max() - MEANS.min()],
}
WRONG = {
    "5.1": [(12, "just too few"), (6, "Not only the paper's rates"), (17, "not square")],
    "5.2": [
        (["3+4", "2+3+4", "1+2+3+4"], "single module counts too"),
        (["1", "2", "3"], "one module"),
        (["3", "3+4"], "row 3"),
        (["1+2"], "no row 1+2"),
        (["4", "3+4"], "others too"),
    ],
    "5.3": [
        (MEANS.mean(), "mean of the seeds"),
        (-RANGE, "not the other way round"),
        (float(seed_means("aspp_unet_1").max() - seed_means("aspp_unet_1").min()), "row 1"),
        (5.0, "per cent"),
    ],
}
