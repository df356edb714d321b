"""Verdicts on made-up results for which the right verdict is known."""

import numpy as np
import pandas as pd
import pytest

from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.summary import summarise
from spineseg.labels import FOREGROUND
from spineseg.methods import ABLATION, METHODS, NOISE_METHODS, TABLE3
from spineseg.paper.verdicts import (
    CANNOT_JUDGE,
    NOT_REPRODUCED,
    REPRODUCED,
    Measured,
    judge,
    verdict,
)

CASES = [f"Case{n}" for n in range(12)]
RIGHT = {name: 0.70 for name in METHODS} | {
    "aspp_unet_1": 0.60,
    "aspp_unet_4": 0.72,
    "aspp_unet_234": 0.75,
    "aspp_unet": 0.85,
    "aspp_unet_noise": 0.84,
}


def made_up(
    means: dict[str, float], drop: float = 0.01, losses=None, times=(1.0, 1.05)
) -> Measured:
    """Results with these mean scores.

    Noise lowers the DSC little up to k = 30, and for ASPP-UNet by `drop` per unit of k beyond.
    """
    random = np.random.default_rng(0)
    keys = {"data": "d", "profile": "p", "device": "c", "fold": 0}
    easy = random.normal(0, 0.02, len(CASES))
    rows = [
        {
            **keys,
            "model": model,
            "case": case,
            "class": name,
            "aggregation": "volume",
            "metric": metric,
            "value": mean + easy[i] + random.normal(0, 0.005),
            "units": 1,
        }
        for model, mean in means.items()
        for i, case in enumerate(CASES)
        for name in FOREGROUND
        for metric in ("DSC", "IoU")
    ]
    scores = pd.DataFrame(rows)
    noise = pd.DataFrame(
        {
            "model": model,
            "case": case,
            "k": k,
            "DSC": 0.9 - 0.001 * k - (model == "aspp_unet") * drop * max(0, k - 30) + easy[i],
        }
        for model in NOISE_METHODS
        if model in means
        for i, case in enumerate(CASES)
        for k in LEVELS
    )
    losses = losses or {name: 1.0 for name in TABLE3} | {"aspp_unet": 0.5}
    curves = pd.DataFrame(
        {"model": name, "epoch": epoch, "train_loss": losses[name]}
        for name in losses
        for epoch in (1, 2)
    )
    cost = pd.DataFrame(
        {"model": ["unet", "aspp_unet"], "parameters": [15.8, 21.8], "seconds": times}
    )
    return Measured(scores, summarise(scores), curves, noise, cost)


@pytest.fixture(scope="module")
def right() -> pd.DataFrame:
    return judge(made_up(RIGHT)).set_index("claim")


def starting(table: pd.DataFrame, words: str) -> pd.DataFrame:
    """The claims that start with these words."""
    found = table[table.index.str.startswith(words)]
    assert len(found), words
    return found


def test_true_claims_are_reproduced(right):
    for words in (
        "ASPP-UNet above",
        "one ASPP module",
        "four ASPP",
        "DSC falls faster beyond",
        "training with",
    ):
        assert starting(right, words)["verdict"].eq(REPRODUCED).all(), words
    assert starting(right, "ASPP-UNet first")["verdict"].eq(REPRODUCED).all()
    assert starting(right, "ASPP-UNet's training loss")["verdict"].eq(REPRODUCED).all()
    assert len(starting(right, "ASPP-UNet above")) == 10


def test_false_claims_are_not_reproduced():
    means = RIGHT | {"aspp_unet": 0.60, "aspp_unet_1": 0.80}
    table = judge(made_up(means, drop=0.0, times=(1, 1.4))).set_index("claim")
    for words in ("ASPP-UNet above", "one ASPP module", "four ASPP", "ASPP-UNet first"):
        assert starting(table, words)["verdict"].eq(NOT_REPRODUCED).all(), words
    assert (
        starting(table, "ASPP-UNet needs only slightly more time")["verdict"]
        .eq(NOT_REPRODUCED)
        .all()
    )


def test_headline_scores_are_shown_but_not_judged(right):
    rows = starting(right, "ASPP-UNet reaches")
    assert rows["verdict"].eq(CANNOT_JUDGE).all()
    assert rows["paper"].tolist() == ["0.866", "0.755"]
    assert rows["ours"].str.startswith("0.8").all()


def test_a_third_more_parameters_is_not_slightly_more(right):
    row = starting(right, "ASPP-UNet needs only slightly more parameters").iloc[0]
    assert (row["paper"], row["ours"], row["verdict"]) == ("+46 %", "+38 %", NOT_REPRODUCED)
    assert (
        starting(right, "ASPP-UNet needs only slightly more time")["verdict"].eq(REPRODUCED).all()
    )


def test_claims_about_methods_that_were_not_run_cannot_be_judged():
    table = judge(made_up({"unet": 0.7, "aspp_unet": 0.8})).set_index("claim")
    assert starting(table, "ASPP-UNet above U-Net-2D")["verdict"].eq(REPRODUCED).all()
    for words in (
        "ASPP-UNet above SegNet",
        "one ASPP",
        "four ASPP",
        "ASPP-UNet first",
        "training with",
    ):
        assert starting(table, words)["verdict"].eq(CANNOT_JUDGE).all(), words


def test_no_claim_can_be_judged_without_aspp_unet():
    table = judge(made_up({name: 0.7 for name in ABLATION if name != "aspp_unet"}))
    own = table[~table["claim"].str.contains("needs only|one ASPP module|training loss")]
    assert own["verdict"].eq(CANNOT_JUDGE).all()


@pytest.mark.parametrize(
    ("low", "high", "cases", "words"),
    [
        (0.1, 2, 6, REPRODUCED),
        (-2, -0.1, 6, NOT_REPRODUCED),
        (-0.1, 2, 6, CANNOT_JUDGE),
        (0.1, 2, 5, CANNOT_JUDGE),
        (np.nan, np.nan, 0, CANNOT_JUDGE),
    ],
)
def test_verdicts_follow_the_interval(low, high, cases, words):
    assert verdict(low, high, cases) == words
