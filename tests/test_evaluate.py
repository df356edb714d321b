import shutil

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk

from spineseg.data.sources import ChallengeFolder
from spineseg.data.volume import to_canonical
from spineseg.evaluate import evaluate_run, gather
from spineseg.files import read_json
from spineseg.labels import CLASSES, FOREGROUND
from spineseg.predict import predict_scan
from spineseg.study import Study
from spineseg.train import RunError, load_network, train

RUN = "phantom-mini-smoke/aspp_unet-fold-0"


@pytest.fixture
def run(trained, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    return trained / "runs" / RUN


def test_scores_are_those_of_the_masks_on_disk(run, phantom, tmp_path):
    """Each held-out case again, through files and SimpleITK's own overlap measures."""
    scores = pd.read_csv(run / "scores.csv").query("aggregation == 'volume'")
    cases = {case.id: case for case in ChallengeFolder(phantom).cases()}
    held_out = read_json(run / "run.json")["test"]
    assert set(scores["case"]) == set(held_out)
    for case in held_out:
        predict_scan(cases[case].image, tmp_path / "mask.nii.gz", run)
        truth = sitk.Cast(sitk.ReadImage(str(cases[case].mask)), sitk.sitkUInt8)
        predicted = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
        present = set(np.unique([sitk.GetArrayFromImage(mask) for mask in (truth, predicted)]))
        measures = sitk.LabelOverlapMeasuresImageFilter()
        measures.Execute(truth, predicted)
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


def test_every_aggregation_and_label_is_there(run):
    scores = pd.read_csv(run / "scores.csv")
    assert set(scores["aggregation"]) == {"volume", "slice", "pooled"}
    assert set(scores["class"]) == set(FOREGROUND)
    assert scores["value"].between(0, 1).all()
    for column, value in {"data": "phantom-mini", "profile": "smoke", "fold": 0}.items():
        assert (scores[column] == value).all()
    assert scores["device"].str.contains("float32|bf16").all()


def test_examples_are_ranked(run):
    examples = np.load(run / "examples.npz")
    best, median, worst = (float(examples[f"{rank}_dsc"]) for rank in ("best", "median", "worst"))
    assert best >= median >= worst
    assert examples["best_image"].shape == examples["best_truth"].shape


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


def test_other_data_is_scored_whole(run, phantom, trained):
    folder = evaluate_run(run, phantom)
    assert folder == trained / "results" / "phantom-mini-smoke-on-phantom-mini"
    assert (
        pd.read_csv(folder / "scores.csv").query("aggregation == 'volume'")["case"].nunique() == 10
    )


def test_a_class_that_other_data_never_labels_is_not_scored(run, phantom, tmp_path, capsys):
    bodies = tmp_path / "no-sacrum"
    shutil.copytree(phantom, bodies)
    for case in ChallengeFolder(bodies).cases():
        mask = sitk.Cast(sitk.ReadImage(str(case.mask)), sitk.sitkUInt8)
        sitk.WriteImage(mask * sitk.Cast(mask != 1, sitk.sitkUInt8), str(case.mask))
    folder = evaluate_run(run, bodies)
    assert "not labelled in this data, not scored: S" in capsys.readouterr().err
    summary = pd.read_csv(folder / "summary.csv")
    assert set(summary["class"]) == {*FOREGROUND, "mean"} - {"S"}


def test_nothing_is_averaged_over_missing_runs(phantom, workspace, trained):
    study = Study.of(phantom, "smoke")
    with pytest.raises(RunError, match=r"not trained and scored yet: .*aspp_unet-fold-0"):
        gather(study)
    shutil.copytree(trained / "runs" / RUN, workspace / "runs" / RUN)
    assert gather(study)["cases"].max() == 2
    (workspace / "runs" / RUN / "scores.csv").unlink()
    with pytest.raises(RunError, match="not trained and scored yet"):
        gather(study)


def test_a_run_on_everything_holds_nothing_out(phantom, workspace):
    run = train(Study.of(phantom, "smoke"), "unet", "all")
    with pytest.raises(RunError, match="none is held out"):
        evaluate_run(run)


def test_checkpoint_carries_the_window(run):
    _, grid, facts = load_network(run)
    assert (grid.slices, grid.size) == (12, 55)
    assert list(grid.columns) == facts["grid"]["columns"]
