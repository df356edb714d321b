import shutil

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from spineseg.cli import main
from spineseg.data.layouts import ChallengeFolder
from spineseg.data.prepare import files_hash, scan_files
from spineseg.data.volume import to_canonical
from spineseg.evaluation.cases import simulated_cases, with_repaired_levels
from spineseg.evaluation.provenance import changed_files
from spineseg.evaluation.result_files import SCORES
from spineseg.evaluation.score_run import RunScores, write_scores
from spineseg.evaluation.scores import surface_rows
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.evaluation.statistics import interval
from spineseg.evaluation.summary import summarise
from spineseg.evaluation.surface import surface_scores
from spineseg.experiment import Experiment
from spineseg.inference.cleanup import clean_levels
from spineseg.labels import ALL_CLASSES, CLASSES, FOREGROUND, NUM_CLASSES
from spineseg.runs import load_record
from spineseg.training.checkpoint import load_network
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.workflow.predict import predict_scan
from spineseg.workflow.prepare import prepare
from spineseg.workflow.score import score_on, score_run
from spineseg.workflow.score_repaired import score_repaired
from spineseg.workflow.targets import Outputs
from spineseg.workflow.train import train

RUN = "phantom-mini-smoke/aspp_unet-fold-0-seed-0"


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    return trained / "runs" / RUN


@pytest.fixture
def others(phantom, tmp_path):
    """The phantom with other gray values: scans that no run was trained on."""
    folder = shutil.copytree(phantom, tmp_path / "others")
    for case in ChallengeFolder(folder).cases():
        sitk.WriteImage(sitk.ReadImage(str(case.image)) + 1, str(case.image))
    return folder


@pytest.mark.parametrize("clean", [False, True])
def test_scores_are_those_of_the_masks_on_disk(clean, run, phantom, tmp_path):
    """Each held-out case again, through files and SimpleITK's own overlap measures."""
    folder = score_repaired([run]) if clean else run
    scores = pd.read_csv(folder / "scores.csv").query("aggregation == 'volume'")
    cases = {case.id: case for case in ChallengeFolder(phantom).cases()}
    held_out = read_json(run / "run.json")["test"]
    assert set(scores["case"]) == set(held_out)
    for case in held_out:
        predict_scan(cases[case].image, tmp_path / "mask.nii.gz", run, Outputs(clean_up=clean))
        truth = sitk.Cast(sitk.ReadImage(str(cases[case].mask)), sitk.sitkUInt8)
        predicted = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
        measures = sitk.LabelOverlapMeasuresImageFilter()
        measures.Execute(truth, predicted)
        masks = [sitk.GetArrayFromImage(mask) for mask in (truth, predicted)]
        present = set(np.unique(masks))
        surfaces = surface_scores(*masks, truth.GetSpacing()[::-1])
        mine = scores[scores["case"] == case].pivot(index="class", columns="metric", values="value")
        for name in mine.index:
            label = CLASSES.index(name)
            assert label in present
            dice, jaccard = (
                measures.GetDiceCoefficient(label),
                measures.GetJaccardCoefficient(label),
            )
            assert mine.loc[name, "DSC"] == pytest.approx(dice, abs=1e-5)
            assert mine.loc[name, "IoU"] == pytest.approx(jaccard, abs=1e-5)
            theirs = pytest.approx(surfaces[label], rel=1e-4, abs=1e-5, nan_ok=True)
            assert mine.loc[name, ["HD95", "NSD"]].tolist() == theirs


def test_every_aggregation_and_label_is_there(run):
    scores = pd.read_csv(run / "scores.csv")
    assert set(scores["aggregation"]) == {"volume", "slice", "pooled"}
    assert set(scores["class"]) == set(FOREGROUND)
    surfaces = scores["metric"].isin(["HD95", "NSD"])
    assert (scores[surfaces]["aggregation"] == "volume").all()
    far = scores["metric"] == "HD95"
    assert scores[~far]["value"].between(0, 1).all()
    assert not (scores[far]["value"] < 0).any()
    keys = {"data": "phantom-mini", "profile": "smoke", "fold": 0, "seed": 0}
    for column, value in keys.items():
        assert (scores[column] == value).all()
    assert scores["device"].str.contains("float32|bf16").all()


def test_the_confusion_matrix_agrees_with_the_pooled_scores(run):
    """Of each class: 2 x both / (truth + prediction)."""
    voxels = pd.read_csv(run / "confusion.csv").pivot(
        index="truth", columns="predicted", values="voxels"
    )
    assert set(voxels.index) == set(voxels.columns) == set(CLASSES)
    pooled = pd.read_csv(run / "scores.csv").query("aggregation == 'pooled' and metric == 'DSC'")
    for name, dsc in pooled.set_index("class")["value"].items():
        both = voxels.loc[name, name]
        found = 2 * both / (voxels.loc[name].sum() + voxels[name].sum())
        assert dsc == pytest.approx(found, rel=1e-5)  # six digits are stored


def test_undefined_distances_count_for_nothing():
    """S is found in both cases, L5 missed in one, L4 missed in both; the other classes are not."""
    keys = {"data": "d", "profile": "p", "device": "c", "model": "m", "fold": 0, "seed": 0}
    rows = []
    for case, s, l5 in (("A", (2.0, 0.9), (5.0, 0.5)), ("B", (4.0, 0.7), (np.nan, 0.0))):
        scores = np.full((NUM_CLASSES, 2), np.nan)
        scores[1:4] = s, l5, (np.nan, 0.0)
        rows += [{**keys, **row} for row in surface_rows(case, scores)]
    summary = summarise(pd.DataFrame(rows))
    assert summary["metric"].tolist() == 4 * ["HD95"] + 4 * ["NSD"]
    assert summary["class"].tolist() == 2 * ["S", "L5", "L4", "all"]
    assert summary["cases"].tolist() == [2, 1, 0, 2, 2, 2, 2, 2]
    expected = [3, 5, np.nan, 4, 0.8, 0.25, 0, 1.05 / 3]
    assert summary["mean"].tolist() == pytest.approx(expected, nan_ok=True)
    nsd = np.array([[0.9, 0.5, 0], [0.7, 0, 0]])  # of cases and classes
    far = np.array([[2, 5], [4, np.nan]])
    one_case = (np.nan, np.nan)
    bounds = [interval(far[:, 0]), one_case, one_case, interval(far[None])]
    bounds += [*map(interval, nsd.T), interval(nsd[None])]
    for found, wanted in zip(summary[["low", "high"]].to_numpy(), bounds, strict=True):
        assert found.tolist() == pytest.approx(wanted, nan_ok=True)


def test_examples_show_every_case(run):
    examples = np.load(run / "examples.npz")
    for case in read_json(run / "run.json")["test"]:
        shapes = {examples[f"{case}_{part}"].shape for part in ("image", "truth", "predicted")}
        assert len(shapes) == 1


def test_prediction_lies_on_the_scans_own_grid(run, phantom, tmp_path):
    """The same patient stored along other axes gets the same mask, voxel for voxel."""
    scan = ChallengeFolder(phantom).cases()[0].image
    image = sitk.ReadImage(str(scan))
    turned = sitk.DICOMOrient(image, "LAS")
    sitk.WriteImage(turned, str(tmp_path / "turned.mha"))
    predict_scan(scan, tmp_path / "a.nii.gz", run)
    predict_scan(tmp_path / "turned.mha", tmp_path / "b.nrrd", run)
    mask, mask_turned = (sitk.ReadImage(str(tmp_path / name)) for name in ("a.nii.gz", "b.nrrd"))
    assert mask.GetSize() == image.GetSize()
    assert mask.GetDirection() == pytest.approx(image.GetDirection())
    assert mask.GetOrigin() == pytest.approx(image.GetOrigin())
    assert mask_turned.GetSize() == turned.GetSize()
    straight = [sitk.GetArrayFromImage(to_canonical(m)) for m in (mask, mask_turned)]
    assert (straight[0] == straight[1]).mean() > 0.9999
    assert sitk.GetArrayViewFromImage(mask).max() <= 8


def test_other_data_is_scored_whole(run, others, trained):
    folder = score_on(run, others)
    assert folder == trained / "results" / "phantom-mini-smoke-on-others"
    assert (
        pd.read_csv(folder / "scores.csv").query("aggregation == 'volume'")["case"].nunique() == 10
    )
    assert changed_files(folder) == {}
    (origin,) = read_json(folder / "provenance.json")["origins"].values()
    assert origin["data"] == "others"
    assert origin["data_hash"] == files_hash(scan_files(Experiment.of(others, "smoke")))


def test_scans_that_a_run_was_trained_on_are_not_other_data(run, phantom, others):
    with pytest.raises(UserError, match="8 of its 10 scans are among those that the run was"):
        score_on(run, phantom)
    trained_on = read_json(run / "run.json")["train"][0]
    cases = {case.id: case for case in ChallengeFolder(phantom).cases()}
    first = cases[trained_on]
    shutil.copy(first.image, others / first.image.relative_to(phantom))
    with pytest.raises(UserError, match="1 of its 10 scans are among those that the run was"):
        score_on(run, others)


def test_scans_are_scored_when_those_of_the_training_are_gone(run, others):
    copy, emptied = others.parent / "run", others.parent / "emptied"
    emptied.mkdir()
    shutil.copytree(run, copy)
    write_json(copy / "run.json", read_json(run / "run.json") | {"data": str(emptied)})
    assert score_on(copy, others).is_dir()


def test_a_run_is_scored_where_its_scans_are_now(phantom, workspace):
    first, second = workspace / "old" / "mini", workspace / "new" / "mini"
    shutil.copytree(phantom, first)
    options = ["train", "--profile", "smoke", "--data"]
    assert main([*options, str(first)]) == 0
    second.parent.mkdir()
    first.rename(second)
    assert main([*options, str(second), "--score"]) == 0
    scores = SCORES.read(workspace / "runs" / "mini-smoke" / "aspp_unet-fold-0-seed-0")
    assert scores["case"].nunique() == 3  # two test cases, and all of them pooled


def test_noise_that_leaves_nothing_to_score_has_no_mean(run, tmp_path):
    found = {"class": "L5", "value": 0.5}
    clean = [found | {"metric": "DSC"}, found | {"metric": "IoU"}]
    scores = RunScores(rows=clean, with_noise=[("Case1", 0, clean), ("Case1", 6, [])])
    write_scores(tmp_path, scores, load_record(run), ["L5"], "mini")
    noise = pd.read_csv(tmp_path / "noise.csv").set_index("k")
    assert noise.loc[0, ["DSC", "IoU"]].tolist() == [0.5, 0.5]
    assert noise.loc[6, ["DSC", "IoU"]].isna().all()


def test_the_scores_of_other_scans_are_kept(run, others, tmp_path):
    folder = score_on(run, others)
    other = tmp_path / "elsewhere" / others.name
    shutil.copytree(others, other)
    assert score_on(run, other) == folder  # the same scans at another place
    mask = next(other.rglob("mask_case1.nii.gz"))
    image = sitk.ReadImage(str(mask))
    image[0, 0, 0] = 1
    sitk.WriteImage(image, str(mask))
    scores = (folder / "scores.csv").read_bytes()
    with pytest.raises(UserError, match=f"other scans, also called {others.name}; move it"):
        score_on(run, other)
    assert (folder / "scores.csv").read_bytes() == scores


def test_the_scores_of_another_run_are_kept(run, others, tmp_path):
    folder = score_on(run, others)
    scores = (folder / "scores.csv").read_bytes()
    other = tmp_path / "other"
    shutil.copytree(run, other)
    record = read_json(other / "run.json")
    write_json(other / "run.json", record | {"seed": 7})
    with pytest.raises(
        UserError, match="holds the scores of model aspp_unet, fold 0, seed 0; move"
    ):
        score_on(other, others)
    assert (folder / "scores.csv").read_bytes() == scores
    (folder / "scores.csv").unlink()
    write_json(other / "run.json", record | {"model": "unet"})
    with pytest.raises(UserError, match="holds the scores of model aspp_unet;"):
        score_on(other, others)


def test_a_class_that_other_data_never_labels_is_not_scored(run, others, tmp_path, capsys):
    bodies = tmp_path / "no-sacrum"
    shutil.copytree(others, bodies)
    for case in ChallengeFolder(bodies).cases():
        mask = sitk.Cast(sitk.ReadImage(str(case.mask)), sitk.sitkUInt8)
        sitk.WriteImage(mask * sitk.Cast(mask != 1, sitk.sitkUInt8), str(case.mask))
    folder = score_on(run, bodies)
    assert "not labelled in this data, not scored: S" in capsys.readouterr().err
    summary = pd.read_csv(folder / "summary.csv")
    assert set(summary["class"]) == {*FOREGROUND, ALL_CLASSES} - {"S"}


def test_repaired_levels_have_a_folder_of_their_own(run, phantom, workspace):
    before = (run / "scores.csv").read_bytes()
    other = train(Experiment.of(phantom, "smoke"), "unet", 0)
    folder = score_repaired([run, other])
    assert folder == workspace / "results" / "phantom-mini-smoke-cleaned-up"
    assert (run / "scores.csv").read_bytes() == before
    assert changed_files(folder) == {}
    scores = pd.read_csv(folder / "scores.csv")
    assert set(scores["aggregation"]) == {"volume"}
    (row,) = pd.read_csv(folder / "comparison.csv").query("metric == 'DSC'").to_dict("records")
    dice = scores[scores["metric"] == "DSC"].groupby(["model", "case"])["value"].mean()
    means = 100 * dice.groupby("model").mean()
    assert row["difference"] == pytest.approx(means["aspp_unet"] - means["unet"], abs=1e-3)
    summary = pd.read_csv(folder / "summary.csv").query("metric == 'DSC' and `class` == 'all'")
    assert set(summary["model"]) == {"aspp_unet", "unet"}


def test_levels_of_simulated_patients_are_repaired_too(workspace):
    """As `clean_levels` repairs the classes on their grid."""
    experiment = Experiment.of("simulated-8", "smoke")
    run = train(experiment, "unet", 0)
    cache, record = prepare(experiment), load_record(run)
    segmenter = open_segmenter(run)
    for one in simulated_cases(cache, record):
        other = with_repaired_levels(one)
        probabilities = segmenter.probabilities(one.gray)
        expected = clean_levels(one.to_scan_grid(probabilities), one.spacing)
        assert np.array_equal(other.to_scan_grid(probabilities), expected)
    folder = score_repaired([run])
    assert set(pd.read_csv(folder / "scores.csv")["case"]) == set(record.test)


def test_runs_that_cannot_be_scored_are_all_named_before_any_is(run, workspace):
    copies = {seed: workspace / f"seed-{seed}" for seed in (1, 2)}
    for seed, copy in copies.items():
        shutil.copytree(run, copy)
        (copy / "checkpoint.pt").unlink()
        write_json(copy / "run.json", read_json(copy / "run.json") | {"seed": seed})
    with pytest.raises(UserError) as error:
        score_repaired([run, *copies.values()])
    assert [problem.what for problem in error.value.problems] == 2 * ["no checkpoint"]
    assert not (workspace / "results").exists()


def test_runs_that_are_not_there_are_all_named(workspace, capsys):
    missing = [str(workspace / name) for name in ("one", "two")]
    assert main(["evaluate", *missing]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == missing


def test_a_second_call_leaves_no_file_of_the_first(run, phantom, workspace, tmp_path):
    other = train(Experiment.of(phantom, "smoke"), "unet", 0)
    folder = score_repaired([run, other])
    assert (folder / "comparison.csv").is_file()
    (tmp_path / "link").symlink_to(other)
    assert score_repaired([other, tmp_path / "link"]) == folder
    names = {path.name for path in folder.iterdir()}
    assert names == {"scores.csv", "summary.csv", "provenance.json"}
    assert changed_files(folder) == {}


def test_runs_that_cannot_be_compared_are_refused_before_any_is_scored(run, phantom, workspace):
    copy = shutil.copytree(run, workspace / "copy")
    with pytest.raises(UserError, match="hold aspp_unet fold 0 seed 0 twice; give each run once"):
        score_repaired([run, copy])
    other = train(Experiment.of(phantom, "smoke"), "unet", 1)
    with pytest.raises(UserError, match=r"no fold and seed that all of .* have; give runs of"):
        score_repaired([run, other])
    assert not (workspace / "results").exists()


def test_runs_of_two_experiments_make_no_table(run, workspace, trained):
    other = train(Experiment.of("simulated-8", "smoke"), "unet", 0)
    with pytest.raises(UserError, match=r"are of 2 experiments: .*; give those of one"):
        score_repaired([trained / "runs" / RUN, other])


@pytest.mark.parametrize("score", [score_run, lambda run: score_repaired([run])])
def test_a_run_on_everything_holds_nothing_out(score, phantom, workspace):
    run = train(Experiment.of(phantom, "smoke"), "unet", "all")
    with pytest.raises(UserError, match="none is held out"):
        score(run)


def test_checkpoint_carries_the_window(run):
    _, record = load_network(run)
    assert (record.grid.slices, record.grid.size) == (12, 55)
    assert list(record.grid.columns) == read_json(run / "run.json")["grid"]["columns"]
