"""Sentences and tables of lessons 5 and 6, from made-up numbers."""

import numpy as np
import pandas as pd
import pytest

from spineseg import figures
from spineseg.course import score_tables
from spineseg.labels import ALL_CLASSES, FOREGROUND
from spineseg.methods import TABLE3_METHODS
from spineseg.paper import findings
from spineseg.paper.ablation import ablation_rows
from spineseg.paper.verdicts import CANNOT_ACT, REPRODUCED, UNTRAINED, lead_key

CASES = [f"Case{n}" for n in range(8)]


def scored(**means: float) -> pd.DataFrame:
    """scores.csv of two seeds; the cases of each method differ alike."""
    return pd.DataFrame(
        {
            **{"data": "d", "profile": "p", "device": "c", "fold": "0"},
            **{"model": model, "seed": seed, "case": case, "class": name},
            **{"aggregation": "volume", "metric": metric, "units": 1},
            "value": mean + 0.01 * n + 0.001 * seed,
        }
        for model, mean in means.items()
        for seed in (0, 1)
        for n, case in enumerate(CASES)
        for name in FOREGROUND
        for metric in ("DSC", "IoU")
    )


def test_ablation_is_compared_with_four_modules_or_with_none():
    without = ablation_rows(scored(unet=0.5, aspp_unet_4=0.6)).set_index("positions")
    assert without.loc["4", "above"] == pytest.approx(10)
    assert np.isnan(without.loc["none", "above"])
    every = scored(unet=0.5, aspp_unet_4=0.6, aspp_unet=0.7)
    rows = ablation_rows(every).set_index("positions")
    assert rows.loc["4", "above"] == pytest.approx(-10)
    assert (
        rows.loc["none", "above_low"] <= rows.loc["none", "above"] <= rows.loc["none", "above_high"]
    )
    table = score_tables.ablation_table(ablation_rows(every))
    assert table.shape[1] <= 4
    assert table.columns[2] == "points above 1+2+3+4 (95 %)"
    gains = score_tables.gain_table(ablation_rows(every))["points above none (95 %)"]
    assert gains["4"].startswith("+10.00 (")
    assert gains["none"] == ""
    assert not table.isna().any(axis=None)


def test_what_the_ablation_says():
    rows = ablation_rows(scored(unet=0.5, aspp_unet_1=0.5, aspp_unet_4=0.6))
    said = " ".join(findings.on_ablation(rows))
    assert "the one with ASPP at 4 has the highest mean DSC" in said
    assert "the network without ASPP, with an interval above zero: ASPP at 4." in said
    assert "These cannot be told from the network without ASPP: ASPP at 1." in said
    assert said.count("a higher mean than the network without ASPP") == 1
    assert "cannot tell whether four modules are better" in said
    assert "This is one seed." not in said
    one = scored(unet=0.5, aspp_unet_4=0.6).query("seed == 0")
    assert "This is one seed." in " ".join(findings.on_ablation(ablation_rows(one)))
    nothing = findings.on_ablation(ablation_rows(scored(unet=0.5)[:0]))
    assert nothing == ["No network of the ablation was run."]


def test_what_twice_the_epochs_change_of_the_ablation():
    tried = pd.DataFrame(
        {
            "model": ["unet", "aspp_unet_34", "segnet"],
            "change": [0.4, 1.2, 3.0],
            "low": [0.1, 0.8, 2.0],
            "high": [0.7, 1.6, 4.0],
            "trained_out": [True, False, False],
        }
    )
    said = findings.on_longer_ablation(tried)
    assert "points: without ASPP +0.4 (+0.1 to +0.7), trained out; with ASPP at 3+4 +1.2 " in said
    assert said.endswith("(+0.8 to +1.6), not trained out. For the others, they were not tried.")
    assert "3.0" not in said
    untried = tried.assign(change=np.nan)
    assert findings.on_longer_ablation(untried).startswith("Twice the epochs were not tried")


def leads(**differences: tuple[float, float, float]) -> pd.DataFrame:
    comparison = pd.DataFrame(
        [("DSC", model, *values, 0.0001, 0.0002) for model, values in differences.items()],
        columns=["metric", "model", "difference", "low", "high", "p", "p_holm"],
    )
    judged = pd.DataFrame(
        {
            "key": [lead_key(model) for model in differences],
            "verdict": [REPRODUCED if model == "unet" else UNTRAINED for model in differences],
        }
    )
    known = pd.DataFrame({"model": ["unet", "segnet"], "trained_out": [True, False]})
    return score_tables.lead_rows(comparison, judged, known)


@pytest.mark.parametrize(
    ("rivals", "words"),
    [
        (["unet"], "U-Net-2D sees too much."),
        (["deeplabv3"], "the labels of DeepLabV3 are too coarse."),
        (["unet", "deeplabv3"], "U-Net-2D sees too much and the labels of DeepLabV3 are too"),
    ],
)
def test_why_images_are_too_small_is_said_of_each_rival(rivals, words):
    found = leads(**dict.fromkeys(rivals, (9, 8, 10))).assign(verdict=CANNOT_ACT)
    said = findings.on_leads(found)
    assert f"does not count, because in images of this size {words}" in said


def test_a_rival_that_is_not_trained_out_gives_no_lead():
    found = leads(unet=(2, 1, 3), segnet=(9, 8, 10), nnunet=(1, -1, 2))
    assert list(found["trained_out"]) == ["yes", "no", "unknown"]
    said = findings.on_leads(found)
    assert "Of 3 differences" in said
    assert "ahead in 2 and behind in 0" in said
    assert "ASPP-UNet leads over U-Net-2D (+2.0 (+1.0 to +3.0) points)." in said
    assert "The comparison with SegNet and nnU-Net-2D does not count" in said
    table = score_tables.lead_table(found)
    assert table.loc["DeepLabV3", "lead of ASPP-UNet (95 %)"] == score_tables.NOT_RUN
    assert table.loc["SegNet", "p (Holm)"] == "<0.001"
    assert findings.on_leads(found[:0]) == "ASPP-UNet was not compared with another method."


def test_unknown_and_untried_are_said():
    known = pd.DataFrame(
        {
            "model": ["unet", "segnet"],
            "epochs": [60, 240],
            "DSC": [80.0, 70.0],
            "DSC_twice": [80.5, np.nan],
            "change": [0.5, np.nan],
            "low": [-0.2, np.nan],
            "high": [1.2, np.nan],
            "trained_out": [True, False],
        }
    )
    table = score_tables.convergence_as_text(known)
    assert list(table.loc["U-Net-2D"]) == ["60", "80.0", "80.5", "+0.5 (-0.2 to +1.2)", "yes"]
    assert list(table.loc["SegNet"]) == ["240", "70.0", "not tried", "", "no"]
    assert list(table.loc["DeepLabV3"]) == ["unknown", "", "", "", "unknown"]


def table3(**means: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            **{"model": model, "metric": metric, "class": name, "paper": 80.0},
            "ours": means.get(model, np.nan) + (model == "unet") * 30 * (name == "S"),
            "low": means.get(model, np.nan) - 1,
            "high": means.get(model, np.nan) + 1,
        }
        for model in TABLE3_METHODS
        for metric in ("DSC", "IoU", "HD95", "NSD")
        for name in (*FOREGROUND, ALL_CLASSES)
    )


def test_who_wins():
    table = table3(unet=70, aspp_unet=90)
    said = findings.on_means(table, "phantom-laptop")
    start = (
        "phantom-laptop: ASPP-UNet has the highest mean DSC of the 2 methods that were run, 90.0"
    )
    assert said.startswith(start)
    assert said.endswith("Not run: SegNet, DeepLabV3, U-Net-3D, nnU-Net-2D.")
    assert "Not run" not in findings.on_means(table3(**dict.fromkeys(TABLE3_METHODS, 50)), "d")
    assert "that of U-Net-2D on S and" in findings.on_best(table)
    tied = findings.on_best(table3(unet=70, aspp_unet=70))
    assert tied == (
        "The highest mean DSC is that of U-Net-2D on S. "
        "Several methods share the highest on L5 L4 L3 L2 L1 T12 T11."
    )
    assert "no method was run" in findings.on_means(table3(), "d")
    assert score_tables.mean_table(table).shape == (len(TABLE3_METHODS), 4)


def named(**parts: tuple[float, float, float]) -> pd.DataFrame:
    rows = [
        (model, "L3", right, missed, wrong, 0.0, 0.0, 100)
        for model, (right, missed, wrong) in parts.items()
    ]
    columns = ["model", "class", "right", "missed", "below", "above", "other", "voxels"]
    return pd.DataFrame(rows, columns=columns)


def test_errors_are_called_wrong_names_only_if_these_prevail():
    table = named(unet=(80, 15, 5), unet3d=(50, 10, 40), aspp_unet=(90, 9, 1))
    said = findings.on_errors(table, TABLE3_METHODS)
    assert said[0].endswith("75 % are missed and 25 % have another level's name.")
    assert "Most errors of U-Net-3D are wrong names." in said
    assert any(each.startswith("Most errors of U-Net-2D and ASPP-UNet are not") for each in said)
    assert "differ more in missed voxels than in wrong names" in said[-1]
    assert findings.on_errors(table[:0], TABLE3_METHODS) == []
    perfect = findings.on_errors(named(unet=(100, 0, 0), aspp_unet=(90, 9, 1)), TABLE3_METHODS)
    assert perfect[0] == "U-Net-2D gets no voxel of the vertebrae wrong."
    assert not any("U-Net-2D" in each for each in perfect[1:3])


def test_the_worst_case_of_each_method():
    scores = scored(unet=0.5, aspp_unet=0.4)
    first, second = findings.on_worst(scores, TABLE3_METHODS)
    assert first == "U-Net-2D: Case0 with seed 0, mean DSC 50.0 %, no class is poor."
    assert second.endswith(f"below 50 %: {' '.join(FOREGROUND)}.")


def test_folds_are_said_only_if_there_are_several():
    row = {"metric": "DSC", "folds": 5, "cases": 172, "difference": 1, "low": 0.5, "high": 2}
    assert "Over 5 folds" in findings.on_folds(pd.DataFrame([row]))
    assert "fewer than two" in findings.on_folds(pd.DataFrame([row])[:0])
    assert "fewer than two" in findings.on_folds(pd.DataFrame([row])[:0])


def test_figures_of_single_patients_show_every_value():
    values = pd.DataFrame(np.arange(24.0).reshape(3, 8), columns=CASES)
    patients, seeds = figures.spread(values).axes
    assert [len(line.get_xdata()) for line in patients.lines] == [8, 8, 8]
    assert [line.get_ydata()[0] for line in seeds.lines] == list(values.mean(axis=1))
    strip, _ = figures.paired_differences(values.loc[0], {"both": (1, 2)}, "points").axes
    assert sorted(strip.collections[0].get_offsets()[:, 0]) == list(values.loc[0])
    dsc = pd.DataFrame({"unet": [50.0, 90.0]}, index=CASES[:2])
    texts = {text.get_text(): text.get_color() for text in figures.worst_cases(dsc).axes[0].texts}
    assert texts == {"50": "white", "90": "black"}
    taps = figures.taps({("a", 6): np.full((4, 2), 5), ("b", 6): np.ones((4, 2))})
    assert [axes.get_title() for axes in taps.axes[:2]] == ["rate 6: 5.0 of 9", "rate 6: 1.0 of 9"]
    table = table3(unet=70, aspp_unet=90)
    assert len(figures.classes_of_methods(table, "d").axes) == 2
    labels = [text.get_text() for text in figures.distances(table).axes[0].get_yticklabels()]
    assert labels == ["U-Net-2D", "ASPP-UNet"]
