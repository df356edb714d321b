"""About how long training takes: which runs count, and in which words."""

import pytest

from spineseg import cli
from spineseg.experiment import Experiment
from spineseg.profiles import load_profile
from spineseg.training import device
from spineseg.workflow import estimate
from spineseg.workflow.gather import Run


@pytest.fixture
def a_minute_per_epoch(monkeypatch) -> None:
    monkeypatch.setattr(estimate, "seconds_per_epoch", lambda *_: 60.0)


def test_runs_share_the_cores(a_minute_per_epoch, workspace):
    experiment = Experiment.of("simulated", "smoke")  # three epochs
    runs = [Run("unet", fold) for fold in range(20)]
    for number, cores, words in (
        (20, 1, "20 runs (U-Net-2D); this takes about 1.0 hours"),
        (20, 2, "20 runs (U-Net-2D); this takes about 30 minutes"),
        (2, 8, "2 runs (U-Net-2D); this takes about 3 minutes"),
    ):
        assert estimate.estimate(experiment, runs[:number], cores) == f"to train: {words}"


def test_runs_on_gpus_wait_for_a_place(a_minute_per_epoch, workspace, monkeypatch):
    monkeypatch.setattr(device, "choose_device", lambda: "cuda")
    runs = [Run("unet", fold) for fold in range(4)]
    experiment = Experiment.of("simulated", "smoke")
    for gpus, cores, minutes in ((1, 8, 12), (2, 8, 6), (4, 1, 12)):
        monkeypatch.setattr(device, "gpu_ids", lambda gpus=gpus: dict.fromkeys(range(gpus)))
        words = f"about {minutes} minutes"
        assert estimate.estimate(experiment, runs, cores).endswith(words)


def test_the_longest_run_decides():
    for seconds, cores, together in (
        ([12, 19], 2, 19),
        ([3, 3, 2, 2, 2], 2, 7),
        ([5], 4, 5),
        ([], 2, 0),
    ):
        assert estimate._time_together(seconds, cores) == together


def test_pretraining_counts_once_per_method(a_minute_per_epoch, phantom, workspace):
    experiment = Experiment.of(phantom, "laptop")
    profile = load_profile("laptop")
    runs = [Run("unet", fold) for fold in range(5)]
    epochs = profile.tuned("unet").epochs + 5 * profile.finetune_epochs
    assert estimate.estimate(experiment, runs, 1).endswith(f"about {epochs / 60:.1f} hours")


def test_nnunet_is_not_timed(a_minute_per_epoch, workspace):
    line = estimate.estimate(Experiment.of("simulated", "smoke"), [Run("nnunet", 0)], 1)
    assert line == "to train: 1 run (nnU-Net-2D); this takes about 1 minute (without nnU-Net)"


def test_finished_runs_take_no_time(trained, phantom, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    line = estimate.estimate(Experiment.of(phantom, "smoke"), [Run("aspp_unet", 0)], 1)
    assert line == "nothing to train: no run is missing"


def test_the_command_says_what_the_graph_would_train(phantom, workspace, capsys):
    experiment = ["--data", str(phantom), "--profile", "smoke"]
    assert cli.main(["estimate", *experiment, "--models", "unet3d"]) == 0
    assert capsys.readouterr().out.startswith("to train: 1 run (U-Net-3D); this takes about ")
    assert cli.main(["estimate", *experiment, "--models", "vgg"]) == 1


@pytest.mark.parametrize(("model", "slices"), [("unet", 8), ("unet3d", 12)])
def test_a_batch_has_the_slices_of_the_profile(model, slices):
    profile = load_profile("smoke")
    assert estimate._slices_per_batch(model, profile) == slices
    shape = estimate._batch_shape(model, profile)
    assert shape[-2:] == (64, 48)
    assert shape[0] * (shape[2] if len(shape) == 5 else 1) == slices


def test_without_a_number_of_slices_an_epoch_has_each_training_slice():
    assert estimate._slices(Experiment.of("simulated-20", "paper")) == 12 * 16
    assert estimate._slices(Experiment.of("simulated", "laptop")) == 320
