"""nnU-Net: what is handed to it, what comes back, and that it leaves nothing elsewhere."""

import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

from spineseg.evaluation.segmenters import open_segmenter
from spineseg.experiment import Experiment
from spineseg.methods import nnunet_is_installed
from spineseg.training.checkpoint import load_checkpoint
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json
from spineseg.workflow.prepare import prepare
from spineseg.workflow.score import score_run
from spineseg.workflow.train import train

installed = pytest.mark.skipif(
    not nnunet_is_installed(), reason="nnunetv2 is not installed (`make nnunet`)"
)
FOLDER = "runs/phantom-mini-smoke/nnunet-fold-0-seed-0"


class Stopped(Exception):
    pass


def smoke_experiment(data) -> Experiment:
    experiment = Experiment.of(data, "smoke")
    return replace(
        experiment, profile=replace(experiment.profile, nnunet_epochs=2, nnunet_iterations=15)
    )


@pytest.fixture(scope="module")
def interrupted(phantom, tmp_path_factory):
    """The workspace of a run that was stopped after its first epoch."""
    from spineseg.nnunet import trainer as nnunet

    whole_epoch = nnunet.Trainer.on_epoch_end

    def stop(trainer):
        whole_epoch(trainer)
        raise Stopped

    root = tmp_path_factory.mktemp("interrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        patch.setattr(nnunet.Trainer, "on_epoch_end", stop)
        with pytest.raises(Stopped):
            train(smoke_experiment(phantom), "nnunet")
    return root


@pytest.fixture(scope="module")
def finished(interrupted, phantom, tmp_path_factory):
    """The workspace of the same run, gone on with; with it, the environment before and after."""
    root = tmp_path_factory.mktemp("finished") / "root"
    shutil.copytree(interrupted, root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        before = dict(os.environ)
        assert train(smoke_experiment(phantom), "nnunet") == root / FOLDER
        assert dict(os.environ) == before
    return root


@pytest.fixture
def run(finished, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(finished))
    return finished / FOLDER


def test_without_the_package_one_line_says_what_installs_it(phantom, workspace, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("spineseg.nnunet.")]:
        monkeypatch.delitem(sys.modules, name)
    for name in ["nnunetv2", *(name for name in sys.modules if name.startswith("nnunetv2."))]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match="`make nnunet` installs it") as raised:
        train(Experiment.of(phantom, "smoke"), "nnunet")
    assert "\n" not in str(raised.value)
    assert not (workspace / "runs").exists()


@installed
def test_it_is_given_the_cached_volumes(interrupted, phantom, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(interrupted))
    cache = prepare(smoke_experiment(phantom))
    window = slice(*cache.grid(0).columns)
    raw = interrupted / FOLDER / "nnunet" / "raw" / "Dataset001_spine"
    for row, case in enumerate(cache.index["cases"]):
        image = sitk.ReadImage(raw / "imagesTr" / f"{case}_0000.nii.gz")
        mask = sitk.ReadImage(raw / "labelsTr" / f"{case}.nii.gz")
        assert np.array_equal(sitk.GetArrayViewFromImage(image), cache.images[row][..., window])
        assert np.array_equal(sitk.GetArrayViewFromImage(mask), cache.masks[row][..., window])
        column, row_, slice_ = image.GetSpacing()
        assert column == pytest.approx(row_)
        assert column * cache.index["size"] == pytest.approx(305, rel=0.1)  # field of view, mm
        assert slice_ == pytest.approx(4.4, rel=0.1)


@installed
def test_the_plan_saw_no_test_case(interrupted, phantom, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(interrupted))
    cache = prepare(smoke_experiment(phantom))
    work = interrupted / FOLDER / "nnunet"
    raw, preprocessed = (work / name / "Dataset001_spine" for name in ("raw", "preprocessed"))
    assert list(read_json(raw / "dataset.json")["dataset"]) == cache.train_ids(0)
    assert read_json(raw / "dataset.json")["numTraining"] == 8
    assert len(read_json(preprocessed / "dataset_fingerprint.json")["spacings"]) == 8
    (split,) = read_json(preprocessed / "splits_final.json")
    assert split == {"train": cache.train_ids(0), "val": cache.test_ids(0)}


@installed
def test_an_interrupted_run_ends_as_an_unbroken_one(interrupted, finished, phantom, workspace):
    """The unbroken one sets out from the same plan; the other trains no epoch twice."""
    shutil.copytree(interrupted, workspace, dirs_exist_ok=True)
    shutil.rmtree(workspace / FOLDER / "nnunet" / "results")
    unbroken = train(smoke_experiment(phantom), "nnunet")
    begun, losses, expected = (
        pd.read_csv(path / "log.csv")
        for path in (interrupted / FOLDER, finished / FOLDER, unbroken)
    )
    pd.testing.assert_frame_equal(begun, losses[:1])
    pd.testing.assert_frame_equal(losses.drop(columns="seconds"), expected.drop(columns="seconds"))
    weights = load_checkpoint(finished / FOLDER)["network"]
    for name, value in load_checkpoint(unbroken)["network"].items():
        assert torch.equal(value, weights[name]), name


@installed
def test_other_settings_are_refused(finished, phantom, monkeypatch):
    experiment = smoke_experiment(phantom)
    other = replace(experiment, profile=replace(experiment.profile, nnunet_epochs=3))
    monkeypatch.setenv("SPINESEG_ROOT", str(finished))
    with pytest.raises(UserError, match="differs in nnunet_epochs, epochs; remove the folder"):
        train(other, "nnunet")


@installed
def test_a_finished_run_keeps_what_prediction_needs(run, phantom):
    written = (run / "checkpoint.pt").stat().st_mtime_ns
    assert train(smoke_experiment(phantom), "nnunet") == run
    assert (run / "checkpoint.pt").stat().st_mtime_ns == written
    kept = {"checkpoint.pt", "dataset.json", "log.csv", "nnunet.log", "plans.json", "run.json"}
    assert kept <= {path.name for path in run.iterdir()}
    assert not [path for path in run.iterdir() if path.is_dir()]
    facts = read_json(run / "run.json")
    assert facts["model"] == "nnunet"
    assert facts["device"].endswith(("float32", "float16", "bf16"))
    assert {"nnunetv2", "torch"} <= facts["versions"].keys()
    log = pd.read_csv(run / "log.csv")
    assert list(log) == ["epoch", "train_loss", "test_loss", "learning_rate", "seconds"]
    assert log["epoch"].tolist() == [1, 2]
    assert log["train_loss"].is_monotonic_decreasing
    assert log["test_loss"].notna().all()


@installed
def test_nothing_lies_outside_the_run(finished):
    files = {path.relative_to(finished) for path in finished.rglob("*") if path.is_file()}
    outside = {str(path) for path in files if not path.is_relative_to(FOLDER)}
    split = "runs/phantom-mini-smoke/split.json"
    assert {path for path in outside if not path.startswith("cache/")} == {split}


@installed
def test_a_run_is_scored_as_any_other(run, capfd):
    scores = pd.read_csv(score_run(run) / "scores.csv")
    assert set(scores["case"]) == {*read_json(run / "run.json")["test"], "all"}
    assert set(scores["model"]) == {"nnunet"}
    assert capfd.readouterr().out == ""


@installed
def test_probabilities_lie_on_the_given_pixels(run):
    """A network that says S where a pixel is brighter than the volume's mean, elsewhere BG."""

    class Bright(torch.nn.Module):
        def forward(self, image):
            logits = torch.full((len(image), 9, *image.shape[2:]), -100.0)
            logits[:, 0], logits[:, 1] = 0, 50 * image[:, 0]
            return logits

    segmenter = open_segmenter(run)
    segmenter.predictor.network, segmenter.predictor.list_of_parameters = Bright(), [{}]
    first, last = segmenter.grid.columns
    shape = (segmenter.grid.slices, segmenter.grid.size, last - first)
    gray = np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)
    probabilities = segmenter.probabilities(gray)
    assert probabilities.shape == (*shape, 9)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(-1), 1, atol=1e-4)
    assert np.array_equal(probabilities.argmax(-1), gray > gray.mean())


@installed
def test_the_whole_data_set_can_be_trained_on(phantom, workspace, monkeypatch):
    experiment = Experiment.of(phantom, "smoke")
    run = train(experiment, "nnunet", "all")
    assert read_json(run / "run.json")["test"] == []
    assert read_json(run / "dataset.json")["numTraining"] == 10
    assert pd.read_csv(run / "log.csv")["test_loss"].isna().all()


@installed
def test_on_scans_it_starts_from_weights_and_plan_of_a_run_on_simulated_patients(
    phantom, workspace, monkeypatch
):
    """Without a step of the optimizer, the weights stay those that it started from."""
    few = property(lambda self: Experiment(Path("simulated-5"), self.profile))
    monkeypatch.setattr(Experiment, "pretraining", few)
    experiment = Experiment.of(phantom, "smoke")
    settings = {"name": "tuning", "nnunet_epochs": 3, "epochs": 6, "finetune_epochs": 2}
    experiment = replace(experiment, profile=replace(experiment.profile, **settings))
    start = train(experiment.pretraining, "nnunet", "all")
    monkeypatch.setattr(torch.optim.SGD, "step", lambda optimizer: None)
    run = train(experiment, "nnunet")
    facts, before = read_json(run / "run.json"), read_json(start / "run.json")
    assert (before["epochs"], facts["epochs"]) == (3, 1)
    assert facts["started_from"] == {key: before[key] for key in facts["started_from"]}
    assert facts["grid"] != before["grid"]
    assert read_json(run / "plans.json") == read_json(start / "plans.json")
    weights = load_checkpoint(start)["network"]
    for name, value in load_checkpoint(run)["network"].items():
        assert torch.equal(value, weights[name]), name
    assert np.isfinite(pd.read_csv(score_run(run) / "scores.csv")["value"]).any()


@installed
def test_the_recipe_is_nnunets_own():
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    from spineseg.nnunet.trainer import Trainer

    ours = {name for name in vars(Trainer) if hasattr(nnUNetTrainer, name)}
    reports = {"on_epoch_start", "on_train_epoch_start", "train_step", "on_epoch_end"}
    precision = {"initialize"}
    files = {"save_checkpoint", "load_checkpoint"}
    assert {name for name in ours if not name.startswith("__")} == reports | precision | files
