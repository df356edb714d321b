import numpy as np
import pandas as pd
import pytest

from spineseg.evaluation.noise import LEVELS, noisy
from spineseg.paper import tables
from spineseg.utils.files import read_json

RUN = "phantom-mini-smoke/aspp_unet-fold-0-seed-0"


def test_levels_are_the_papers_and_none():
    assert LEVELS == (0, 10, 30, 50, 70, 90)


def test_noise_is_the_same_for_every_method_and_differs_between_cases():
    gray = np.full((12, 20, 20), 100, np.uint8)
    assert np.array_equal(noisy(gray, 30, "Case1 30"), noisy(gray, 30, "Case1 30"))
    assert not np.array_equal(noisy(gray, 30, "Case1 30"), noisy(gray, 30, "Case2 30"))
    assert noisy(gray, 30, "Case1 30").dtype == np.uint8
    assert np.array_equal(noisy(gray, 0, "Case1 0"), gray)


def test_without_noise_the_scores_are_the_usual_ones(trained):
    run = trained / "runs" / RUN
    noise = pd.read_csv(run / "noise.csv")
    assert set(noise["case"]) == set(read_json(run / "run.json")["test"])
    assert all(tuple(levels) == LEVELS for _, levels in noise.groupby("case")["k"])
    volumes = pd.read_csv(run / "scores.csv").query("aggregation == 'volume'")
    means = volumes.groupby(["case", "metric"])["value"].mean().unstack()
    clean = noise[noise["k"] == 0].set_index("case")
    for metric in ("DSC", "IoU"):
        np.testing.assert_allclose(clean[metric], means.loc[clean.index, metric], atol=1e-5)


def test_example_holds_a_slice_at_each_level(trained):
    example = np.load(trained / "runs" / RUN / "noise.npz")
    spread = [np.std(example[f"image_{k}"] - example["image_0"].astype(float)) for k in LEVELS]
    assert spread == sorted(spread)
    assert {example[f"predicted_{k}"].shape for k in LEVELS} == {example["truth"].shape}


def test_curves_by_hand():
    noise = pd.DataFrame(
        {
            "model": ["unet"] * 4,
            "fold": ["0"] * 4,
            "seed": [0] * 4,
            "case": ["A", "B"] * 2,
            "k": [0, 0, 30, 30],
            "DSC": [0.8, 0.9, 0.2, 0.2],
        }
    )
    curves = tables.noise_curves(noise).set_index("k")
    assert curves["DSC"].tolist() == pytest.approx([85, 20])
    assert curves.loc[30, ["low", "high"]].tolist() == pytest.approx([20, 20])
    assert curves.loc[0, "low"] <= 85 <= curves.loc[0, "high"]
    assert curves["cases"].tolist() == [2, 2]
    assert curves["seeds"].tolist() == [1, 1]


def test_curves_use_the_runs_that_all_methods_have():
    noise = pd.DataFrame(
        [
            ("unet", "0", 0, "A", 10, 0.6),
            ("unet", "0", 1, "A", 10, 0.8),
            ("unet", "1", 0, "B", 10, 0.1),
            ("aspp_unet", "0", 0, "A", 10, 0.9),
            ("aspp_unet", "0", 1, "A", 10, 0.7),
        ],
        columns=["model", "fold", "seed", "case", "k", "DSC"],
    )
    curves = tables.noise_curves(noise).set_index("model")
    assert curves["DSC"].to_dict() == pytest.approx({"unet": 70, "aspp_unet": 80})
    assert set(curves["seeds"]) == {2}
    assert set(curves["cases"]) == {1}
