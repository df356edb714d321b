"""Results that are incomplete or of another experiment are refused, and each fault is named."""

import shutil

import numpy as np
import pandas as pd
import pytest

from spineseg.evaluation.result_files import SCORES
from spineseg.experiment import Experiment
from spineseg.fingerprint import training_code
from spineseg.paper import tables
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_arrays, read_json, write_json
from spineseg.workflow import gather as workflow
from spineseg.workflow.gather import Run, gather, has_seeds, results_of, stored_runs
from spineseg.workflow.tables import write_tables

RUN = "phantom-mini-smoke/aspp_unet-fold-0-seed-0"


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
            "scores.csv: aspp_unet fold 0 seed 0 lacks Case",
        ),
        (
            "scores.csv",
            lambda t: t.assign(profile="laptop"),
            "scores.csv: holds profile laptop, not smoke",
        ),
        (
            "summary.csv",
            lambda t: t.assign(data="mine"),
            "summary.csv: holds data mine, not phantom-mini",
        ),
        ("curves.csv", lambda t: t[t["epoch"] != 2], "curves.csv: aspp_unet fold 0 seed 0 lacks 2"),
        (
            "scores.csv",
            lambda t: t[t["class"] != "L3"],
            "scores.csv: aspp_unet fold 0 seed 0 lacks L3",
        ),
        (
            "confusion.csv",
            lambda t: t[t["predicted"] != "L3"],
            "confusion.csv: aspp_unet fold 0 seed 0 lacks BG L3, S L3, L5 L3 and 6 more",
        ),
        ("noise.csv", lambda t: t[t["k"] != 50], "noise.csv: aspp_unet fold 0 seed 0 lacks Case"),
        (
            "scores.csv",
            lambda t: t.assign(value=t["value"].where(t["metric"] != "DSC", 7.5)),
            "scores.csv: holds a DSC of 7.5 (aspp_unet fold 0 seed 0 Case",
        ),
        (
            "scores.csv",
            lambda t: t.assign(value=t["value"].where(t["metric"] != "HD95", -1)),
            "scores.csv: holds a HD95 of -1.0 (aspp_unet fold 0 seed 0 Case",
        ),
    ],
)
def test_gaps_and_foreign_rows_are_named(experiment, name, change, words):
    edit(experiment, name, change)
    with pytest.raises(UserError) as error:
        results_of(experiment)
    assert words in str(error.value)
    assert f"remove {experiment.results}" in str(error.value)


def test_methods_may_have_other_folds_and_seeds_but_each_run_is_complete(experiment):
    runs = read_json(experiment.results / "runs.json")
    other = {"model": "unet", "fold": "1", "seed": 2}
    write_json(experiment.results / "runs.json", [*runs, runs[0] | other])
    for name in ("scores.csv", "curves.csv", "noise.csv", "confusion.csv"):
        edit(experiment, name, lambda table: pd.concat([table, table.assign(**other)]))
    assert results_of(experiment) == experiment.results
    edit(experiment, "curves.csv", lambda table: table[table["seed"] != 2])
    with pytest.raises(UserError, match=r"curves.csv: unet fold 1 seed 2 lacks 1, 2, 3"):
        results_of(experiment)


def test_another_profile_of_the_same_name_is_refused(experiment):
    runs = read_json(experiment.results / "runs.json")
    runs[0]["profile"]["epochs"] = 99
    write_json(experiment.results / "runs.json", runs)
    with pytest.raises(
        UserError, match=r"aspp_unet fold 0 seed 0 was made with other epochs; restore profiles/"
    ):
        results_of(experiment)


def test_example_cases_get_the_new_predictions_of_their_own_run(experiment):
    drawn = read_arrays(experiment.results / "examples.npz")
    scores = SCORES.read(experiment.results)
    blank = {key: np.zeros_like(array) for key, array in drawn.items() if "_dsc_" in key}
    new = workflow._new_predictions(
        experiment, "aspp_unet", [Run("aspp_unet", 0)], drawn | blank, scores
    )
    assert len(new) == 6
    for key, array in new.items():
        np.testing.assert_allclose(array, drawn[key], atol=1e-6, err_msg=key)
    other = [Run("aspp_unet", 0, seed=1), Run("aspp_unet", 1)]
    assert workflow._new_predictions(experiment, "aspp_unet", other, drawn, scores) == {}


def test_a_setting_of_another_method_may_differ(experiment):
    runs = read_json(experiment.results / "runs.json")
    runs[0]["profile"]["nnunet_epochs"] = 99
    write_json(experiment.results / "runs.json", runs)
    assert results_of(experiment) == experiment.results


def test_settings_that_no_run_depends_on_may_differ(experiment):
    runs = read_json(experiment.results / "runs.json")
    runs[0]["profile"] |= {"min_test_patients": 3, "benchmark_rows": 99}
    write_json(experiment.results / "runs.json", runs)
    assert results_of(experiment) == experiment.results


def test_a_missing_file_is_named(experiment):
    (experiment.results / "noise.csv").unlink()
    with pytest.raises(UserError, match=r"lacks noise\.csv"):
        results_of(experiment)


def test_nothing_is_averaged_over_missing_runs(experiment):
    with pytest.raises(UserError, match=r"unet-fold-0-seed-0: not trained and scored yet"):
        gather(experiment, [Run("aspp_unet", 0), Run("unet", 0)])
    folder = gather(experiment, [Run("aspp_unet", 0)])
    scores = pd.read_csv(folder / "scores.csv").query("aggregation == 'volume'")
    assert scores["case"].nunique() == 2


@pytest.fixture
def with_a_seed(experiment) -> list[Run]:
    """The run under another model, fold and seed too, each with its own files."""
    first = experiment.run("aspp_unet", 0)
    runs = [Run("aspp_unet", 0), Run("aspp_unet", 1), Run("aspp_unet", 0, 1), Run("unet", 0)]
    for run in runs[1:]:
        folder = shutil.copytree(first, experiment.run(*run))
        keys = {"model": run.model, "fold": str(run.fold), "seed": run.seed}
        record = read_json(folder / "run.json") | keys
        write_json(folder / "run.json", record | {"code": training_code(run.model)})
        for path in folder.glob("*.csv"):
            if path.name != "log.csv":
                pd.read_csv(path).assign(**keys).to_csv(path, index=False)
    return runs


def test_runs_of_several_seeds_are_gathered(experiment, with_a_seed):
    folder = gather(experiment, with_a_seed)
    for name in ("scores.csv", "curves.csv", "noise.csv", "confusion.csv"):
        table = pd.read_csv(folder / name)[["model", "fold", "seed"]].drop_duplicates()
        assert [*table.itertuples(index=False, name=None)] == with_a_seed, name
    assert [run["seed"] for run in read_json(folder / "runs.json")] == [0, 0, 1, 0]
    drawn = np.load(folder / "examples.npz")
    assert {"best_predicted_unet", "worst_predicted_aspp_unet"} <= set(drawn)


def test_nothing_is_written_if_the_methods_have_no_run_in_common(experiment, with_a_seed):
    before = {path.name: path.read_bytes() for path in experiment.results.iterdir()}
    others = [run for run in with_a_seed if run != Run("aspp_unet", 0)]
    with pytest.raises(UserError, match=r"no fold and seed that all of aspp_unet, unet have"):
        gather(experiment, others)
    assert before == {path.name: path.read_bytes() for path in experiment.results.iterdir()}


def test_results_of_several_seeds_are_told_from_those_of_one(experiment):
    assert not has_seeds(Experiment.of("simulated", "smoke"))
    assert not has_seeds(experiment)
    path = experiment.results / "runs.json"
    (run,) = read_json(path)
    write_json(path, [run, run | {"seed": 1}])
    assert has_seeds(experiment)


def test_runs_of_several_seeds_are_not_replaced_by_fewer(experiment, with_a_seed):
    stored = (gather(experiment, with_a_seed) / "scores.csv").read_bytes()
    lost = next(run for run in with_a_seed if run.seed == 1)
    with pytest.raises(UserError, match=f"would be lost: {lost.model} fold {lost.fold} seed 1; "):
        gather(experiment, [run for run in with_a_seed if run != lost])
    assert (experiment.results / "scores.csv").read_bytes() == stored
    (experiment.results / "runs.json").write_text("[]")  # the scores still tell
    with pytest.raises(UserError, match=f"would be lost: {lost.model} fold {lost.fold} seed 1; "):
        gather(experiment, [run for run in with_a_seed if run != lost])
    shutil.rmtree(experiment.results)
    gather(experiment, with_a_seed[:1])


def test_runs_are_known_while_their_records_or_their_scores_can_be_read(experiment):
    runs = stored_runs(experiment)
    assert runs
    (experiment.results / "runs.json").write_text("x")
    assert [run._replace(fold=str(run.fold)) for run in stored_runs(experiment)] == runs
    (experiment.results / "scores.csv").write_text("x")
    with pytest.raises(UserError, match=r"scores.csv: damaged"):
        stored_runs(experiment)
    for name in ("runs.json", "scores.csv"):
        (experiment.results / name).unlink()
    assert stored_runs(experiment) == []


def test_tables_are_not_computed_from_damaged_scores(experiment):
    before = {path.name: path.read_bytes() for path in experiment.results.iterdir()}
    edit(experiment, "scores.csv", lambda table: table.assign(value=7.5))
    with pytest.raises(UserError, match=r"scores.csv: holds a DSC of 7.5"):
        write_tables(experiment)
    (experiment.results / "scores.csv").unlink()
    with pytest.raises(UserError, match=r"lacks scores.csv"):
        write_tables(experiment)
    after = {path.name: path.read_bytes() for path in experiment.results.iterdir()}
    assert after == {name: data for name, data in before.items() if name != "scores.csv"}


@pytest.mark.parametrize(
    "damage",
    [{"epochs": 0}, {"epochs": "x"}, {"device": 5}, {"model": "nosuch"}, {"train": [1]}],
    ids=str,
)
def test_a_record_of_wrong_values_is_refused(experiment, damage):
    record = experiment.run("aspp_unet", 0) / "run.json"
    write_json(record, read_json(record) | damage)
    with pytest.raises(UserError, match="damaged: not the record of a run"):
        gather(experiment, [Run("aspp_unet", 0)])


def test_no_examples_without_a_method_of_table_3(experiment, with_a_seed):
    run = Run("aspp_unet_1", 0)
    folder = shutil.copytree(experiment.run("aspp_unet", 0), experiment.run(*run))
    record = read_json(folder / "run.json") | {"model": run.model}
    write_json(folder / "run.json", record | {"code": training_code(run.model)})
    for name in ("scores.csv", "confusion.csv"):
        edited = pd.read_csv(folder / name).assign(model=run.model)
        edited.to_csv(folder / name, index=False)
    for name in ("noise.csv", "noise.npz"):
        (folder / name).unlink()
    shutil.rmtree(experiment.results)
    results = gather(experiment, [run])
    assert {path.suffix for path in results.iterdir()} == {".csv", ".json"}
    assert pd.read_csv(results / "noise.csv").empty
    written = {table.name for table in write_tables(experiment)}
    assert {"summary.csv", "table2.csv", "audit.csv"} <= written
    assert not {"table3.csv", "noise_curves.csv", "verdicts.csv"} & written
    assert results_of(experiment) == results


def test_examples_are_ranked_by_the_proposed_method(experiment):
    drawn = np.load(experiment.results / "examples.npz")
    best, median, worst = (
        float(drawn[f"{rank}_dsc_aspp_unet"]) for rank in ("best", "median", "worst")
    )
    assert best >= median >= worst
    assert drawn["best_image"].shape == drawn["best_predicted_aspp_unet"].shape


def test_tables_say_what_was_not_run(experiment):
    scores = pd.read_csv(experiment.results / "scores.csv")
    table = tables.beside_table3(scores).set_index("model")
    assert table.loc["aspp_unet", "note"].eq("").all()
    assert table.loc["unet", "note"].eq("not run: name it in MODELS").all()
    assert table.loc["nnunet", "note"].eq("not run: `make nnunet`, then name it in MODELS").all()
    assert table.loc["unet", "ours"].isna().all()
    assert table.query("metric == 'DSC'")["paper"].notna().all()


def test_our_percentages_are_the_means_of_the_scores(experiment):
    scores = pd.read_csv(experiment.results / "scores.csv").query("aggregation == 'volume'")
    table = tables.beside_table3(scores)
    row = table.query("model == 'aspp_unet' and metric == 'DSC' and `class` == 'L3'").iloc[0]
    values = 100 * scores.query("metric == 'DSC' and `class` == 'L3'")["value"]
    assert row["ours"] == pytest.approx(values.mean(), abs=0.005)
    assert row["sd"] == pytest.approx(values.std(), abs=0.005)
    assert row["difference"] == pytest.approx(row["ours"] - 87.5, abs=0.011)


def test_means_over_other_classes_have_no_difference(experiment):
    scores = pd.read_csv(experiment.results / "scores.csv").query("`class` != 'S'")
    table = tables.beside_table3(scores).query("model == 'aspp_unet' and metric == 'DSC'")
    table = table.set_index("class")
    assert table["difference"].drop(["S", "all"]).notna().all()
    assert table.loc[["S", "all"], "difference"].isna().all()
    assert table.loc["all", "note"] == "without S, so no difference of means"
