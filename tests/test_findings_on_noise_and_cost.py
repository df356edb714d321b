"""What lessons 7 and 8 say of noise and cost: sentences and tables that follow from results."""

import numpy as np
import pandas as pd
import pytest

from spineseg.methods import NOISE_TRAINED, PLAIN, PROPOSED
from spineseg.paper import findings
from spineseg.paper.tables import halving_by_seed, halving_levels, noise_gain

LEVELS = (0, 10, 30, 50, 90)


def curves(**dsc: list[float]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"model": model, "k": k, "DSC": value}
            for model, values in dsc.items()
            for k, value in zip(LEVELS, values, strict=True)
        ]
    )


def noise(**lost: float) -> pd.DataFrame:
    """Scores of two seeds and four cases that fall by `lost` per unit of k."""
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        [
            {
                "model": model,
                "fold": "0",
                "seed": seed,
                "case": f"Case{case}",
                "k": k,
                "DSC": 0.9 - rate * k + rng.normal(0, 1e-3),
            }
            for model, rate in lost.items()
            for seed in range(2)
            for case in range(4)
            for k in (0, 50)
        ]
    )


def test_a_level_is_interpolated_and_may_be_missing():
    table = curves(unet=[80, 80, 60, 20, 1], aspp_unet=[80, 80, 70, 60, 50])
    levels = halving_levels(table.sample(frac=1, random_state=0))
    assert levels["unet"] == pytest.approx(40)  # half way from 60 to 20 %
    assert np.isnan(levels["aspp_unet"])


def test_nothing_to_lose_has_no_half():
    table = curves(unet=[0, 1, 0, 2, 1], segnet=[0, 0, 0, 0, 0])
    assert halving_levels(table).isna().all()


def test_levels_of_each_seed():
    scores = noise(unet=0.9 / 50, segnet=0.6 / 50)
    later = scores["model"].eq("unet") & scores["seed"].eq(1) & scores["k"].eq(50)
    scores.loc[later, "DSC"] = 0.3  # a third is left, so half is lost at 3/4 of the way
    levels = halving_by_seed(scores)
    assert levels.loc["unet"].tolist() == pytest.approx([25, 37.5], abs=0.3)
    assert levels.loc["segnet"].tolist() == pytest.approx([37.5, 37.5], abs=0.3)


def test_where_methods_halve_and_where_the_floor_is():
    text = findings.on_noise(
        curves(unet=[80, 80, 60, 20, 1], aspp_unet=[90, 80, 70, 60, 50], segnet=[10, 10, 9, 9, 9])
    )
    assert "between 10.0 % (SegNet) and 90.0 % (ASPP-UNet)" in text
    assert "SegNet starts below 20 %" in text
    assert "at k = 40 (U-Net-2D)." in text
    assert "It stays above half up to k = 90 for ASPP-UNet." in text
    assert "At k = 90, the DSC is below 5 % for U-Net-2D." in text


def test_of_one_method_and_of_none_that_was_trained():
    assert "the mean DSC is 80.0 % (U-Net-2D)." in findings.on_noise(
        curves(unet=[80, 70, 60, 50, 45])
    )
    text = findings.on_noise(curves(unet=[3, 2, 2, 1, 1], segnet=[2, 2, 2, 1, 1]))
    assert text.endswith("All methods start below 20 %, so a fall would say nothing.")
    assert findings.on_noise(curves()) == ""


def test_training_with_noise():
    gain = noise_gain(noise(**{PROPOSED: 0.01, NOISE_TRAINED: 0.001}))
    assert list(gain["k"]) == [0, 50]
    assert gain["difference"].iloc[1] == pytest.approx(45, abs=0.5)
    text = findings.on_noise_training(gain)
    assert "It raises the DSC at k = 50." in text
    assert "cannot be told from chance at k = 0." in text
    low = gain.assign(without=1.0, trained=2.0)
    assert "nothing to protect" in findings.on_noise_training(low)


def test_training_with_noise_needs_both_networks():
    gain = noise_gain(noise(**{PROPOSED: 0.01}))
    assert gain.empty
    assert findings.on_noise_training(gain) == ""


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ([50, 10], "So the scale is not the reason for the fall."),
        ([65, 10], "So the scale explains at most 38 % of the fall."),
        ([95, 10], "changes it by +0.0 to +45.0 points."),
    ],
)
def test_whether_the_scale_explains_a_fall(kept, words):
    scale = pd.DataFrame({"own": [50.0, 10.0], "kept": kept}, index=[30, 50])
    text = findings.on_scale(scale, 90.0)
    assert "by up to 80.0 points" in text
    assert text.endswith(words)


def test_noise_that_does_no_harm_has_no_fall_to_explain():
    scale = pd.DataFrame({"own": [90.0, 92.0], "kept": [91.0, 90.0]}, index=[30, 50])
    assert findings.on_scale(scale, 90.0) == "On this slice, noise does not lower the DSC."


def table4(seconds: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": ["U-Net-2D", "ASPP-UNet"],
            "parameters_ours": [10.0, 14.0],
            "seconds_paper": [0.1, 0.11],
            "seconds_ours": [1.0, seconds],
            "ratio_paper": [1.0, 1.1],
            "ratio_ours": [1.0, seconds],
            "gflops": [100.0, 132.0],
            "gflops_ratio": [1.0, 1.32],
        }
    )


def test_what_aspp_costs():
    text = findings.on_cost(table4(1.5))
    assert "adds 40 % to the parameters of U-Net-2D and 32 % to its arithmetic" in text
    assert "changes by +50 % here, and by +10 % in the paper" in text
    assert "In the paper, the networks compute at these multiples of U-Net-2D's rate: ASPP" in text
    assert "rate: ASPP-UNet 1.20." in text
    assert "ASPP-UNet 0.88." in text
    assert "here" not in findings.on_cost(table4(np.nan)).casefold()


def test_whether_the_device_is_busy():
    cost = pd.DataFrame({"model": [PLAIN, PROPOSED], "share_of_peak": [0.9, 0.5]})
    text = findings.on_peak(cost)
    assert "90 % (U-Net-2D) and 50 % (ASPP-UNet)" in text
    assert "no network could compute at more than 1.11 times U-Net-2D's rate" in text
    idle = findings.on_peak(cost.assign(share_of_peak=0.25))
    assert "at more than 4.00 times U-Net-2D's rate" in idle
    assert findings.on_peak(cost.assign(share_of_peak=np.nan)) == ""


def test_times_that_cannot_be():
    rates = pd.Series({"U-Net-2D": 3.4, "ASPP-UNet": 4.5})
    text = findings.on_printed_times(rates, 4.4)
    assert "ASPP-UNet (4.5) needs more than this and U-Net-2D (3.4) needs no more" in text
    assert "no more" not in findings.on_printed_times(rates, 1.0)


def timed(plain: float, proposed: float, rate: float) -> pd.DataFrame:
    """Seconds of both networks on a device with this rate of matrix products."""
    names = [PLAIN, PROPOSED]
    columns = {"model": names, "what": names, "seconds": [plain, proposed]}
    return pd.DataFrame(columns).assign(gemm_gflops_per_s=rate)


@pytest.mark.parametrize(
    ("there", "words"),
    [
        (
            timed(1, 3, 2000),
            "3.0 times as long as U-Net-2D, here 1.5 times. So this ratio is no constant",
        ),
        (timed(1, 1.5, 2000), "So this ratio hardly changes."),
        (timed(1, 3, 101), ""),  # perhaps the same device
        (timed(1, 3, 2000).head(1), ""),
    ],
)
def test_the_ratio_of_times_on_another_device(there, words):
    speed = there.assign(part="inference", size="paper's", version="ours")
    text = findings.on_other_measurement(timed(2, 3, 100), speed)
    assert words in text
    assert bool(text) == bool(words)


def test_the_ratio_of_times_in_two_forms():
    ours, plain = timed(1, 2.1, 100), timed(4, 6.4, 100)
    both = pd.concat(
        [ours.assign(version="ours"), plain.assign(version="plain: float32, channels first")]
    ).assign(part="inference", size="paper's")
    text = findings.on_plain_version(both)
    assert text.endswith(
        "2.1 times as long as U-Net-2D in our fastest form, and 1.6 times in plain float32."
    )
    assert findings.on_plain_version(both[both["version"] == "ours"]) == ""
    assert findings.on_plain_version(both[both["what"] == PLAIN]) == ""
