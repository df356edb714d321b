"""results/<study>/ is whole and of the study that asks for it, or it is refused by name."""

import shutil

import numpy as np
import pandas as pd
import pytest

from spineseg import tables
from spineseg.files import read_json, write_json
from spineseg.results import ResultsError, check_results, gather, results_of
from spineseg.runs import RunError
from spineseg.study import Study

RUN = "phantom-mini-smoke/aspp_unet-fold-0"


@pytest.fixture
def study(phantom, workspace, trained) -> Study:
    """A study whose results are gathered, in a workspace of the test's own."""
    for part in ("runs", "results", "cache"):
        shutil.copytree(trained / part, workspace / part)
    return Study.of(phantom, "smoke")


def edit(study, name, change) -> None:
    table = pd.read_csv(study.results / name)
    change(table).to_csv(study.results / name, index=False)


def test_whole_results_are_read(study):
    assert results_of(study) == study.results


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
def test_gaps_and_foreign_rows_are_named(study, name, change, words):
    edit(study, name, change)
    with pytest.raises(ResultsError) as error:
        results_of(study)
    assert words in str(error.value)
    assert f"remove {study.results}" in str(error.value)


def test_a_method_that_lacks_a_class_or_a_fold_is_named(study):
    runs = read_json(study.results / "runs.json")
    write_json(study.results / "runs.json", [*runs, runs[0] | {"model": "unet", "fold": "1"}])

    def add(table):
        other = table.query("`class` != 'L3'") if "class" in table else table
        return pd.concat([table, other.assign(model="unet", fold=1)])

    for name in ("scores.csv", "curves.csv", "noise.csv"):
        edit(study, name, add)
    with pytest.raises(ResultsError) as error:
        check_results(study)
    assert "runs.json: aspp_unet lacks fold 1" in str(error.value)
    assert "runs.json: unet lacks fold 0" in str(error.value)
    assert "scores.csv: unet has no L3" in str(error.value)


def test_another_profile_of_the_same_name_is_refused(study):
    runs = read_json(study.results / "runs.json")
    runs[0]["profile"]["epochs"] = 99
    write_json(study.results / "runs.json", runs)
    with pytest.raises(
        ResultsError, match=r"aspp_unet fold 0 is of phantom-mini-smoke with other epochs"
    ):
        check_results(study)


def test_a_missing_file_is_named(study):
    (study.results / "noise.csv").unlink()
    with pytest.raises(ResultsError, match=r"lacks noise\.csv"):
        results_of(study)


def test_nothing_is_averaged_over_missing_runs(study):
    with pytest.raises(RunError, match=r"not trained and scored yet: .*unet-fold-0"):
        gather(study, ["aspp_unet", "unet"])
    assert gather(study, ["aspp_unet"])["cases"].max() == 2


def test_methods_outside_table_3_alone_are_refused(study):
    with pytest.raises(RunError, match="aspp_unet_1: add one of unet, segnet"):
        gather(study, ["aspp_unet_1"])


def test_examples_are_ranked_by_the_proposed_method(study):
    drawn = np.load(study.results / "examples.npz")
    best, median, worst = (
        float(drawn[f"{rank}_dsc_aspp_unet"]) for rank in ("best", "median", "worst")
    )
    assert best >= median >= worst
    assert drawn["best_image"].shape == drawn["best_predicted_aspp_unet"].shape


def test_tables_say_what_was_not_run(study):
    summary = pd.read_csv(study.results / "summary.csv")
    table = tables.beside_table3(summary).set_index("model")
    assert table.loc["aspp_unet", "note"].eq("").all()
    assert table.loc["unet", "note"].eq("not run: `make reproduce`").all()
    assert table.loc["nnunet", "note"].eq("not run: `make nnunet`, then `make reproduce`").all()
    assert table.loc["unet", "ours"].isna().all()
    assert table.query("metric == 'DSC'")["paper"].notna().all()


def test_our_percentages_are_the_means_of_the_scores(study):
    scores = pd.read_csv(study.results / "scores.csv").query("aggregation == 'volume'")
    table = tables.beside_table3(pd.read_csv(study.results / "summary.csv"))
    row = table.query("model == 'aspp_unet' and metric == 'DSC' and `class` == 'L3'").iloc[0]
    values = 100 * scores.query("metric == 'DSC' and `class` == 'L3'")["value"]
    assert row["ours"] == pytest.approx(values.mean(), abs=0.005)
    assert row["sd"] == pytest.approx(values.std(), abs=0.005)
    assert row["difference"] == pytest.approx(row["ours"] - 87.5, abs=0.011)


def test_means_over_other_classes_have_no_difference(study):
    summary = pd.read_csv(study.results / "summary.csv").query("`class` != 'S'")
    table = tables.beside_table3(summary).query("model == 'aspp_unet' and metric == 'DSC'")
    table = table.set_index("class")
    assert table["difference"].drop(["S", "mean"]).notna().all()
    assert table.loc[["S", "mean"], "difference"].isna().all()
    assert table.loc["mean", "note"] == "without S, so no difference of means"
