"""Tables of results: means over seeds and cases, and ours beside the paper's, by hand."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from spineseg import figures
from spineseg.benchmark import cost
from spineseg.evaluation.summary import common_runs, summarise
from spineseg.experiment import Experiment
from spineseg.labels import FOREGROUND
from spineseg.methods import METHODS, TABLE3_METHODS
from spineseg.paper.tables import (
    beside_table2,
    beside_table3,
    beside_table4,
    compare,
    five_folds,
    noise_curves,
)
from spineseg.profiles import load_profile
from spineseg.workflow.cost import read_cost, write_cost


@pytest.fixture
def measured() -> pd.DataFrame:
    """Round numbers, none of nnU-Net."""
    return pd.DataFrame(
        {
            "model": TABLE3_METHODS,
            "parameters": pd.array([15e6, 16e6, 50e6, 25e6, None, 22_123_456], "Int64"),
            "seconds": [2.0, 1.0, 5.0, 6.0, np.nan, 3.0],
            "gflops": [500.0, 400.0, 1000.0, 1200.0, np.nan, 750.0],
        }
    )


def test_beside_table4_by_hand(measured):
    table = beside_table4(measured)
    assert list(table["model"]) == [METHODS[name].title for name in TABLE3_METHODS]
    aspp = table.set_index("model").loc["ASPP-UNet"]
    assert aspp["parameters_paper"] == 22.06
    assert aspp["parameters_ours"] == pytest.approx(22.123456)
    assert aspp["parameters_difference"] == pytest.approx(0.063456)
    assert (aspp["seconds_paper"], aspp["seconds_ours"]) == (0.171, 3.0)
    assert aspp["ratio_paper"] == pytest.approx(0.171 / 0.163)
    assert aspp["ratio_ours"] == 1.5
    assert aspp["ratio_difference"] == pytest.approx(1.5 - 0.171 / 0.163)
    assert (aspp["gflops"], aspp["gflops_ratio"]) == (750.0, 1.5)
    missing = table.set_index("model").loc["nnU-Net-2D"]
    assert missing["seconds_paper"] == 0.292
    assert missing.drop(["parameters_paper", "seconds_paper", "ratio_paper"]).isna().all()


def test_written_cost_is_read_with_every_parameter(workspace, measured, monkeypatch):
    experiment = Experiment(Path("scans"), load_profile("smoke"))
    monkeypatch.setattr(cost, "measure_cost", lambda rows: measured.assign(note=""))
    assert write_cost(experiment) == experiment.results / "cost.csv"
    written = read_cost(experiment)
    assert list(written.columns[:3]) == ["data", "profile", "device"]
    assert written["parameters"].iloc[-1] == 22_123_456
    pd.testing.assert_frame_equal(
        beside_table4(written), beside_table4(measured), check_dtype=False
    )


def test_figure_shows_each_network_counted(measured):
    table = beside_table4(measured)
    counted = table[table["model"] != "nnU-Net-2D"]
    names = set(counted["model"])
    paper_panel, our_panel = figures.cost(table).axes
    for axes, column in ((paper_panel, "ratio_paper"), (our_panel, "ratio_ours")):
        points = [line.get_xydata()[0] for line in axes.lines if line.get_label() in names]
        np.testing.assert_allclose(points, counted[["gflops_ratio", column]])


def scores_of(
    means: dict[str, float],
    runs=(("0", 0), ("0", 1), ("0", 2)),
    cases: int = 8,
    classes=FOREGROUND,
    seed_step: float = 0.01,
) -> pd.DataFrame:
    """scores.csv with these means: seed 1 is as they are, seeds 0 and 2 are a step off.

    Cases differ by 0.01, and each fold has its own.
    """
    keys = {"data": "d", "profile": "p", "device": "c"}
    return pd.DataFrame(
        {
            **keys,
            "model": model,
            "fold": fold,
            "seed": seed,
            "case": f"Fold{fold}Case{case}",
            "class": name,
            "aggregation": "volume",
            "metric": metric,
            "value": mean + seed_step * (seed - 1) + 0.01 * (case - (cases - 1) / 2),
            "units": 1,
        }
        for model, mean in means.items()
        for fold, seed in runs
        for case in range(cases)
        for name in classes
        for metric in ("DSC", "IoU")
    )


FIVE_FOLDS = [("0", 0), ("0", 1), ("0", 2), *((str(fold), 0) for fold in range(1, 5))]


def test_common_runs_are_those_of_all_methods_that_were_run():
    scores = pd.concat(
        [
            scores_of({"unet": 0.7, "aspp_unet": 0.8}, FIVE_FOLDS, cases=2),
            scores_of({"segnet": 0.6}, [("0", 0), ("0", 2), ("4", 1)], cases=2),
        ]
    )
    pairs = common_runs(scores, TABLE3_METHODS)[["model", "fold", "seed"]].drop_duplicates()
    assert pairs.to_numpy().tolist() == [
        [model, "0", seed] for model in ("unet", "aspp_unet", "segnet") for seed in (0, 2)
    ]
    two = common_runs(scores, ["unet", "aspp_unet", "nnunet"])
    assert two.equals(scores[scores["model"] != "segnet"])
    assert common_runs(scores, ["nnunet"]).empty
    with pytest.raises(ValueError, match="all of unet, nnunet have"):
        common_runs(pd.concat([scores, scores_of({"nnunet": 0.7}, [("9", 0)])]), ["unet", "nnunet"])


def test_summary_by_hand():
    """Two seeds, two cases; the class L5 is undefined in case B with seed 1."""
    table = scores_of({"unet": 0.0}, [("0", 0), ("0", 1)], cases=2, classes=("S", "L5"))
    table = table[table["metric"] == "DSC"].assign(
        value=[0.9, 0.4, 0.7, 0.6, 0.7, 0.2, 0.5, np.nan]
    )
    summary = summarise(table).set_index("class")
    assert summary["mean"].to_dict() == pytest.approx({"S": 0.7, "L5": 0.45, "all": 0.575})
    sds = {"S": 0.2 / np.sqrt(2), "L5": 0.3 / np.sqrt(2), "all": 0.25 / np.sqrt(2)}
    assert summary["sd"].to_dict() == pytest.approx(sds)
    assert summary["seeds"].tolist() == [2, 2, 2]
    assert summary["cases"].tolist() == [2, 2, 2]
    assert (summary["low"] < summary["mean"]).all()
    assert (summary["high"] > summary["mean"]).all()


def test_summary_gives_a_case_of_several_seeds_the_weight_of_one():
    summary = summarise(scores_of({"unet": 0.7}, FIVE_FOLDS, cases=2, seed_step=0.1))
    overall = summary[summary["class"] == "all"]
    assert overall[["seeds", "cases"]].to_numpy().tolist() == [[3, 10]] * 2
    # Fold 0 has the mean of seeds 0 to 2, 0.7, and the other four have that of seed 0, 0.6.
    assert overall["mean"].tolist() == pytest.approx([0.62] * 2)


def test_summary_over_slices_and_pooled_voxels():
    """Slices have equal weight: case A has one and two of them, depending on the seed."""
    table = scores_of({"unet": 0.0}, [("0", 0), ("0", 1)], cases=2, classes=["S"])
    table = table[table["metric"] == "DSC"]
    slices = table.assign(aggregation="slice", value=[1.0, 0.5, 0.7, 0.5], units=[1, 6, 2, 6])
    found = summarise(slices).set_index("class").loc["S"]
    assert found["mean"] == pytest.approx((0.8 * 1.5 + 0.5 * 6) / 7.5)
    assert np.isnan(found["low"])
    pooled = table[table["case"] == "Fold0Case0"].assign(case="all", aggregation="pooled")
    found = summarise(pooled.assign(value=[0.6, 0.8])).set_index("class").loc["S"]
    assert (found["mean"], found["seeds"], found["cases"]) == (pytest.approx(0.7), 2, 1)


def test_a_class_that_no_seed_defines_is_empty():
    table = scores_of({"unet": 0.5}, classes=["S", "L5"])
    table.loc[table["class"] == "L5", "value"] = np.nan
    summary = summarise(table.assign(metric=table["metric"].replace("IoU", "HD95")))
    found = summary[summary["metric"] == "HD95"].set_index("class")
    assert found["cases"].to_dict() == {"S": 8, "L5": 0, "all": 8}
    assert found.loc["L5", ["mean", "sd", "low", "high"]].isna().all()
    assert found.loc["all", "mean"] == pytest.approx(0.5)


def test_table3_uses_the_runs_that_all_methods_have():
    scores = pd.concat(
        [
            scores_of({"unet": 0.7, "aspp_unet": 0.8}, FIVE_FOLDS),
            scores_of({"segnet": 0.6}),
        ]
    )
    table = beside_table3(scores)
    assert len(table) == len(TABLE3_METHODS) * 4 * 9
    rows = table.query("metric == 'DSC' and `class` == 'all'").set_index("model")
    ran = rows.loc[["unet", "segnet", "aspp_unet"]]
    assert ran["ours"].tolist() == [70, 60, 80]
    assert (ran["difference"] - (ran["ours"] - ran["paper"])).abs().max() < 0.01
    assert ran[["seeds", "cases"]].to_numpy().tolist() == [[3, 8]] * 3
    assert ran["note"].eq("").all()
    assert (ran["low"] < ran["ours"]).all()
    assert rows.loc["nnunet", "note"] == "not run: `make nnunet`, then name it in MODELS"
    assert rows.loc["unet3d", "note"] == "not run: name it in MODELS"
    assert rows.loc["unet3d", ["ours", "seeds", "cases"]].isna().all()


def test_no_difference_of_means_is_shown_if_the_data_lack_a_class():
    table = beside_table3(scores_of({"unet": 0.7}, classes=FOREGROUND[:-1]))
    rows = table.query("model == 'unet' and metric == 'DSC'").set_index("class")
    assert np.isnan(rows.loc["all", "difference"])
    assert rows.loc["S", "difference"] == pytest.approx(70 - rows.loc["S", "paper"])
    assert rows.loc["all", "note"] == f"without {FOREGROUND[-1]}, so no difference of means"


def test_table2_holds_the_methods_that_were_run_and_the_papers():
    means = {"unet": 0.7, "aspp_unet": 0.8, "aspp_unet_1": 0.75, "aspp_unet_wide": 0.82}
    others = [scores_of({"segnet": 0.1}, [("3", 0)]), scores_of({"unet": 0.1}, [("1", 0)])]
    table = beside_table2(pd.concat([scores_of(means), *others]))
    rows = table.query("metric == 'DSC'").set_index("model")
    papers = ["aspp_unet_1", "aspp_unet_2", "aspp_unet_3", "aspp_unet_4", "aspp_unet_34"]
    assert rows.index.tolist() == [
        *("unet", *papers, "aspp_unet_234", "aspp_unet", "aspp_unet_wide")
    ]
    assert rows.loc["aspp_unet_1", ["ours", "above", "seeds", "cases"]].tolist() == [75, -5, 3, 8]
    assert rows.loc["aspp_unet_1", "paper"] == 80.18
    assert rows.loc["aspp_unet_1", "above_low"] < -5 < rows.loc["aspp_unet_1", "above_high"]
    assert rows.loc["unet", ["ours", "above", "seeds", "cases"]].tolist() == [70, -10, 3, 8]
    assert np.isnan(rows.loc["unet", "paper"])
    assert rows.loc["aspp_unet_4", "note"] == "not run with this profile"
    assert rows.loc["aspp_unet_4", ["ours", "above", "seeds"]].isna().all()
    without = beside_table2(scores_of({"aspp_unet": 0.8}))
    assert set(without["model"]) == {*papers, "aspp_unet_234", "aspp_unet"}


def test_compare_uses_the_runs_that_all_methods_have():
    scores = pd.concat(
        [scores_of({"unet": 0.7, "aspp_unet": 0.8}, FIVE_FOLDS), scores_of({"segnet": 0.6})]
    )
    table = compare(scores).query("metric == 'DSC'").set_index("model")
    assert table["difference"].to_dict() == pytest.approx({"unet": 10, "segnet": 20})
    assert table[["seeds", "cases"]].to_numpy().tolist() == [[3, 8]] * 2
    alone = compare(scores, ["unet", "aspp_unet"]).query("metric == 'IoU'")
    assert alone[["seeds", "cases"]].to_numpy().tolist() == [[3, 40]]
    assert compare(scores[scores["model"] != "aspp_unet"]).empty


def test_five_folds_by_hand():
    scores = pd.concat(
        [
            scores_of({"unet": 0.7}, FIVE_FOLDS, seed_step=0.1),
            scores_of({"aspp_unet": 0.8}, FIVE_FOLDS[:-1], seed_step=0.1),
            scores_of({"segnet": 0.6}),
        ]
    )
    table = five_folds(scores)
    assert table["metric"].tolist() == ["DSC", "IoU"]
    row = table.iloc[0]
    assert row[["folds", "seeds", "cases"]].tolist() == [4, 1, 32]
    assert row[["unet", "aspp_unet", "difference"]].tolist() == pytest.approx([60, 70, 10])
    assert row[["low", "high"]].tolist() == pytest.approx([10, 10])
    assert row["unet_low"] < 60 < row["unet_high"] < row["aspp_unet_low"] < 70
    assert row["p"] < 1e-6
    for fewer in (scores[scores["model"] != "unet"], scores[scores["fold"] == "0"]):
        assert five_folds(fewer).empty
        assert list(five_folds(fewer)) == list(table)


def test_noise_curves_by_hand():
    noise = pd.DataFrame(
        {
            "model": model,
            "fold": fold,
            "seed": seed,
            "case": f"Fold{fold}Case{case}",
            "k": k,
            "DSC": 0.9 - 0.01 * k + 0.02 * case - 0.01 * seed,
        }
        for model, runs in (("unet", FIVE_FOLDS), ("aspp_unet", [("0", 0), ("0", 2)]))
        for fold, seed in runs
        for case in range(3)
        for k in (0, 30)
    )
    curves = noise_curves(noise)
    assert curves[["model", "k", "seeds", "cases"]].to_numpy().tolist() == [
        [model, k, 2, 3] for model in ("unet", "aspp_unet") for k in (0, 30)
    ]
    assert curves["DSC"].tolist() == pytest.approx([91, 61] * 2)
    assert (curves["low"] < curves["DSC"]).all()
    assert (curves["high"] > curves["DSC"]).all()
