"""Results that are incomplete or of another experiment are refused, and each fault is named."""

import shutil

import numpy as np
import pandas as pd
import pytest

from spineseg.experiment import Experiment
from spineseg.paper import tables
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.workflow.gather import gather, results_of

RUN = "phantom-mini-smoke/aspp_unet-fold-0"


@pytest.fixture
def experiment(phantom, workspace, trained) -> Experiment:
    """An experiment whose results are gathered, in a workspace of the test's own."""
    for part in ("runs", "results", "cache"):
        shutil.copytree(trained / part, workspace / part)
    return Experiment.of(phantom, "smoke")


def edit(experiment, name, change) -> None:
    table = pd.read_csv(experiment.results / name)
    change(table).to_csv(experiment.results / name, index=False)


def test_whole_results_are_read(experiment):
    assert results_of(experiment) == experiment.results


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        (
            "scores.csv",
            lambda t: t[t["case"] != t["case"].iloc[0]],
            "scores.csv: aspp_unet fold 0 lacks Case",
        ),
        (
            "scores.csv",
            lambda t: t.assign(profile="quick"),
            "scores.csv: holds profile quick, not smoke",
        ),
        (
            "summary.csv",
            lambda t: t.assign(data="mine"),
            "summary.csv: holds data mine, not phantom-mini",
        ),
        ("curves.csv", lambda t: t[t["epoch"] != 2], "curves.csv: aspp_unet fold 0 lacks 2"),
        ("noise.csv", lambda t: t[t["k"] != 50], "noise.csv: aspp_unet fold 0 lacks Case"),
    ],
)
def test_gaps_and_foreign_rows_are_named(experiment, name, change, words):
    edit(experiment, name, change)
    with pytest.raises(UserError) as error:
        results_of(experiment)
    assert words in str(error.value)
    assert f"remove {experiment.results}" in str(error.value)


def test_a_method_that_lacks_a_class_or_a_fold_is_named(experiment):
    runs = read_json(experiment.results / "runs.json")
    write_json(experiment.results / "runs.json", [*runs, runs[0] | {"model": "unet", "fold": "1"}])

    def add(table):
        other = table.query("`class` != 'L3'") if "class" in table else table
        return pd.concat([table, other.assign(model="unet", fold=1)])

    for name in ("scores.csv", "curves.csv", "noise.csv"):
        edit(experiment, name, add)
    with pytest.raises(UserError) as error:
        results_of(experiment)
    assert "runs.json: aspp_unet lacks fold 1" in str(error.value)
    assert "runs.json: unet lacks fold 0" in str(error.value)
    assert "scores.csv: unet has no L3" in str(error.value)


def test_another_profile_of_the_same_name_is_refused(experiment):
    runs = read_json(experiment.results / "runs.json")
    runs[0]["profile"]["epochs"] = 99
    write_json(experiment.results / "runs.json", runs)
    with pytest.raises(
        UserError, match=r"aspp_unet fold 0 is of phantom-mini-smoke with other epochs"
    ):
        results_of(experiment)


def test_a_missing_file_is_named(experiment):
    (experiment.results / "noise.csv").unlink()
    with pytest.raises(UserError, match=r"lacks noise\.csv"):
        results_of(experiment)


def test_nothing_is_averaged_over_missing_runs(experiment):
    with pytest.raises(UserError, match=r"unet-fold-0: not trained and scored yet"):
        gather(experiment, ["aspp_unet", "unet"], [0])
    folder = gather(experiment, ["aspp_unet"], [0])
    scores = pd.read_csv(folder / "scores.csv").query("aggregation == 'volume'")
    assert scores["case"].nunique() == 2


def test_methods_outside_table_3_alone_are_refused(experiment):
    with pytest.raises(UserError, match="aspp_unet_1: not in Table 3; add one of unet, segnet"):
        gather(experiment, ["aspp_unet_1"], [0])


def test_examples_are_ranked_by_the_proposed_method(experiment):
    drawn = np.load(experiment.results / "examples.npz")
    best, median, worst = (
        float(drawn[f"{rank}_dsc_aspp_unet"]) for rank in ("best", "median", "worst")
    )
    assert best >= median >= worst
    assert drawn["best_image"].shape == drawn["best_predicted_aspp_unet"].shape


def test_tables_say_what_was_not_run(experiment):
    summary = pd.read_csv(experiment.results / "summary.csv")
    table = tables.beside_table3(summary).set_index("model")
    assert table.loc["aspp_unet", "note"].eq("").all()
    assert table.loc["unet", "note"].eq("not run: `make reproduce`").all()
    assert table.loc["nnunet", "note"].eq("not run: `make nnunet`, then `make reproduce`").all()
    assert table.loc["unet", "ours"].isna().all()
    assert table.query("metric == 'DSC'")["paper"].notna().all()


def test_our_percentages_are_the_means_of_the_scores(experiment):
    scores = pd.read_csv(experiment.results / "scores.csv").query("aggregation == 'volume'")
    table = tables.beside_table3(pd.read_csv(experiment.results / "summary.csv"))
    row = table.query("model == 'aspp_unet' and metric == 'DSC' and `class` == 'L3'").iloc[0]
    values = 100 * scores.query("metric == 'DSC' and `class` == 'L3'")["value"]
    assert row["ours"] == pytest.approx(values.mean(), abs=0.005)
    assert row["sd"] == pytest.approx(values.std(), abs=0.005)
    assert row["difference"] == pytest.approx(row["ours"] - 87.5, abs=0.011)


def test_means_over_other_classes_have_no_difference(experiment):
    summary = pd.read_csv(experiment.results / "summary.csv").query("`class` != 'S'")
    table = tables.beside_table3(summary).query("model == 'aspp_unet' and metric == 'DSC'")
    table = table.set_index("class")
    assert table["difference"].drop(["S", "all"]).notna().all()
    assert table.loc[["S", "all"], "difference"].isna().all()
    assert table.loc["all", "note"] == "without S, so no difference of means"
