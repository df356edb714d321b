import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from tqdm import tqdm

from spineseg.experiment import Experiment
from spineseg.models import build_model
from spineseg.runs import RunRecord, is_finished
from spineseg.training.checkpoint import load_checkpoint, load_network
from spineseg.training.device import make_fabric
from spineseg.training.loop import Training, epoch_order
from spineseg.training.transforms import add_noise, augment, standardise
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.utils.paths import PROFILES
from spineseg.workflow.prepare import prepare
from spineseg.workflow.train import train

RUN = "phantom-mini-smoke/aspp_unet-fold-0-seed-0"


def test_a_finished_run_is_a_fact(trained, phantom, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    run = trained / "runs" / RUN
    written = (run / "checkpoint.pt").stat().st_mtime_ns
    assert train(Experiment.of(phantom, "smoke")) == run
    assert (run / "checkpoint.pt").stat().st_mtime_ns == written
    facts = read_json(run / "run.json")
    assert {"device", "versions", "train", "test", "grid", "data_key", "profile"} <= facts.keys()
    log = pd.read_csv(run / "log.csv")
    assert log["epoch"].tolist() == [1, 2, 3]
    assert log["train_loss"].iloc[-1] < log["train_loss"].iloc[0]
    assert log["test_loss"].notna().all()


def test_a_run_that_diverged_is_not_finished(phantom, workspace):
    mild = Experiment.of(phantom, "smoke")
    wild = replace(mild.profile, name="wild", learning_rate=10.0, weight_decay=100.0)
    experiment = Experiment(mild.data, wild)
    for _ in range(2):
        with pytest.raises(UserError, match="diverged: its loss is not a number in epoch"):
            train(experiment, "unet")
    assert not is_finished(experiment.run("unet", 0))


def test_bad_scans_are_refused_before_weights_to_start_from_are_trained(
    phantom, tmp_path, monkeypatch
):
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path / "root"))
    bad = tmp_path / "bad"
    shutil.copytree(phantom, bad)
    (bad / "train" / "MR" / "Case1.nii.gz").write_bytes(b"x")
    experiment = Experiment.of(bad, "patients")
    assert experiment.starts_from_simulated
    with pytest.raises(UserError, match="Case1"):
        train(experiment)
    assert not experiment.pretraining.runs.exists()


def test_other_data_or_settings_are_refused(trained, phantom, tmp_path, monkeypatch):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path))
    (tmp_path / "profiles").mkdir()
    edited = (PROFILES / "smoke.yaml").read_text().replace("epochs: 3", "epochs: 4")
    (tmp_path / "profiles" / "smoke.yaml").write_text(edited)
    monkeypatch.setattr("spineseg.profiles.PROFILES", tmp_path / "profiles")
    with pytest.raises(UserError, match="differs in epochs; remove the folder"):
        train(Experiment.of(phantom, "smoke"))


def test_other_code_is_refused_and_what_it_began_starts_from_scratch(
    trained, phantom, tmp_path, monkeypatch, capsys
):
    shutil.copytree(trained / "runs", tmp_path / "runs")
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path))
    run = tmp_path / "runs" / RUN
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    saved["record"]["code"] = "another"
    torch.save(saved, run / "checkpoint.pt")
    write_json(run / "run.json", {**read_json(run / "run.json"), "code": "another"})
    with pytest.raises(UserError, match="differs in code; remove the folder"):
        train(Experiment.of(phantom, "smoke"))
    (run / "run.json").unlink()
    train(Experiment.of(phantom, "smoke"))
    assert f"{run}: begun with other code; training starts from scratch" in capsys.readouterr().err
    unbroken, again = load_checkpoint(trained / "runs" / RUN), load_checkpoint(run)
    assert again["record"].code == unbroken["record"].code
    assert again["log"][0]["seconds"] != unbroken["log"][0]["seconds"]
    for name, value in unbroken["network"].items():
        assert torch.equal(value, again["network"][name]), name


def test_settings_that_no_weights_depend_on_keep_a_run(trained, phantom, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(trained))
    experiment = Experiment.of(phantom, "smoke")
    other = replace(
        experiment, profile=replace(experiment.profile, min_test_patients=10, benchmark_rows=32)
    )
    assert train(other) == trained / "runs" / RUN


def test_killed_run_ends_with_the_weights_of_an_unbroken_one(trained, phantom, tmp_path):
    """kill -9 during the second epoch or later, then the same command again."""
    command = [sys.executable, "-m", "spineseg", "train", "--data", str(phantom)]
    command += ["--profile", "smoke"]
    environment = {**os.environ, "SPINESEG_ROOT": str(tmp_path)}
    run = tmp_path / "runs" / RUN
    first = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not (run / "log.csv").is_file() and first.poll() is None:
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not is_finished(run)
    done = len(pd.read_csv(run / "log.csv"))
    assert 1 <= done < 3
    second = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert second.stdout.splitlines()[-1] == str(run)
    broken, unbroken = load_checkpoint(run), load_checkpoint(trained / "runs" / RUN)
    for name, value in unbroken["network"].items():
        assert torch.equal(value, broken["network"][name]), name
    assert not list(run.glob(".*"))


def test_plain_loop_gives_the_same_weights(phantom, workspace):
    """The recipe written out: no Fabric, no classes, one epoch of the smoke profile."""
    experiment = Experiment.of(phantom, "smoke")
    profile = replace(experiment.profile, optimizer="sgd", schedule="exponential", augment=False)
    experiment = replace(experiment, profile=profile)
    cache = prepare(experiment)
    record = RunRecord.of(experiment, cache, "unet", 0)
    training = Training(record, cache, make_fabric())
    training._train_epoch(0, tqdm(disable=True))

    torch.manual_seed(record.seed)
    network = build_model("unet", profile.width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=profile.learning_rate, weight_decay=0.01)
    first, last = cache.grid(0).columns
    rows = cache.rows(cache.train_ids(0))
    images = torch.from_numpy(np.concatenate(cache.images[rows])[..., first:last].copy())
    masks = torch.from_numpy(np.concatenate(cache.masks[rows])[..., first:last].copy())
    order = epoch_order(len(images), profile.slices_per_epoch, seed=0)
    for batch in order.split(profile.batch_size):
        x = images[batch].float()[:, None]
        x = (x - x.mean((2, 3), keepdim=True)) / x.std((2, 3), keepdim=True).clamp_min(1)
        optimizer.zero_grad()
        F.cross_entropy(network(x), masks[batch].long()).backward()
        optimizer.step()
    for mine, plain in zip(training.network.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(mine.detach(), plain.detach(), atol=1e-4, rtol=1e-3)


def test_learning_rate_follows_equation_4(phantom, workspace):
    experiment = Experiment.of(phantom, "smoke")
    experiment = replace(
        experiment, profile=replace(experiment.profile, optimizer="sgd", schedule="exponential")
    )
    log = pd.read_csv(train(experiment, "unet") / "log.csv")
    np.testing.assert_allclose(log["learning_rate"], 0.004 * 0.99 ** np.arange(3), rtol=1e-5)


def test_bf16_trains_too(phantom, workspace, monkeypatch):
    """Mixed precision, which this CPU may only emulate: the loss falls as in float32."""
    monkeypatch.setattr("spineseg.training.loop.precision_for", lambda width: "bf16-mixed")
    run = train(Experiment.of(phantom, "smoke"), "unet")
    loss = pd.read_csv(run / "log.csv")["train_loss"]
    assert loss.iloc[-1] < loss.iloc[0]
    assert "bf16" in read_json(run / "run.json")["device"]
    weights = load_checkpoint(run)["network"]
    assert all(value.dtype != torch.bfloat16 for value in weights.values())


def test_all_trains_on_everything(phantom, workspace):
    run = train(Experiment.of(phantom, "smoke"), "unet", "all")
    assert read_json(run / "run.json")["test"] == []
    assert pd.read_csv(run / "log.csv")["test_loss"].isna().all()


@pytest.mark.parametrize("wanted", [3, 10, 25])
def test_an_epoch_draws_slices_evenly(wanted):
    order = epoch_order(10, wanted, seed=3)
    counts = np.bincount(order, minlength=10)
    assert len(order) == wanted
    assert counts.max() - counts.min() <= 1
    assert not torch.equal(order, epoch_order(10, wanted, seed=4))


def test_checkpoints_from_outside_cannot_run_code(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    torch.save({"record": Evil()}, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="not a readable checkpoint"):
        load_network(tmp_path)
    assert not (tmp_path / "owned").exists()


def test_standardise():
    gray = torch.stack([torch.arange(256).reshape(16, 16), torch.full((16, 16), 7)]).byte()
    image = standardise(gray)
    assert image.shape == (2, 1, 16, 16)
    assert image[0].mean().abs() < 1e-5
    assert image[0].std() == pytest.approx(1, abs=1e-5)
    assert not image[1].any()


def test_whole_volumes_are_standardised_slice_by_slice():
    volume = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    image = standardise(volume)
    assert image.shape == (2, 1, 3, 16, 16)
    torch.testing.assert_close(image[1, :, 2], standardise(volume[1, 2:])[0])


def test_slices_of_a_volume_are_augmented_alike():
    generator = torch.Generator().manual_seed(0)
    slices = torch.zeros(2, 3, 64, 48, dtype=torch.uint8)
    slices[..., 20:40, 10:30] = 1
    images, masks = augment(slices * 200, slices, generator)
    assert images.shape == masks.shape == slices.shape
    assert torch.equal(masks[0, 0], masks[0, 2])
    assert not torch.equal(masks[0, 0], masks[1, 0])


def test_noise_follows_equation_5():
    gray = torch.full((2, 100, 100), 128, dtype=torch.uint8)
    noisy = add_noise(gray, torch.tensor([0.0, 20.0])[:, None, None], torch.Generator())
    assert torch.equal(noisy[0], gray[0].float())
    assert noisy[1].std() == pytest.approx(20, rel=0.03)
    assert noisy[1].mean() == pytest.approx(128, abs=1)
    assert torch.equal(noisy, noisy.round())
    loud = add_noise(gray, 500, torch.Generator())
    assert (loud.min(), loud.max()) == (0, 255)


def test_noise_is_for_training_alone(phantom, workspace):
    """The net trained with noise is tested on clean slices, and starts as the other does."""
    experiment = Experiment.of(phantom, "smoke")
    cache = prepare(experiment)
    losses = {}
    for model in ("aspp_unet", "aspp_unet_noise"):
        record = RunRecord.of(experiment, cache, model, 0)
        training = Training(record, cache, make_fabric())
        losses[model] = training._test_loss(), training._train_epoch(0, tqdm(disable=True))
    assert losses["aspp_unet"][0] == losses["aspp_unet_noise"][0]
    assert losses["aspp_unet"][1] != losses["aspp_unet_noise"][1]


def test_volumes_are_counted_in_slices(phantom, workspace):
    """64 slices per epoch are five volumes of twelve."""
    experiment = Experiment.of(phantom, "smoke")
    cache = prepare(experiment)
    record = RunRecord.of(experiment, cache, "unet3d", 0)
    training = Training(record, cache, make_fabric())
    assert training.images.ndim == 4
    assert (training.epoch_size, training.batches) == (5, 5)
    run = train(experiment, "unet3d")
    log = pd.read_csv(run / "log.csv")
    assert log["train_loss"].iloc[-1] < log["train_loss"].iloc[0]
    assert log["test_loss"].notna().all()


def test_augmentation_moves_image_and_mask_together():
    """A mask that equals the image before must match it, up to interpolation, after."""
    generator = torch.Generator().manual_seed(0)
    disc = (
        torch.cartesian_prod(torch.arange(64), torch.arange(48)) - torch.tensor([32, 24])
    ).float()
    disc = (disc.norm(dim=1) < 14).reshape(1, 64, 48).repeat(8, 1, 1)
    image, mask = augment(disc.byte() * 200, disc.byte(), generator)
    assert mask.dtype == torch.uint8
    assert set(mask.unique().tolist()) == {0, 1}
    bright = image > image.amax((1, 2), keepdim=True) / 2
    dice = 2 * (bright & mask.bool()).sum((1, 2)) / (bright.sum((1, 2)) + mask.sum((1, 2)))
    assert (dice > 0.9).all()
    assert not torch.equal(mask[0], mask[1])


def test_augmentation_is_seeded_and_keeps_circles_round():
    disc = (
        torch.cartesian_prod(torch.arange(64), torch.arange(32)) - torch.tensor([32, 16])
    ).float()
    disc = (disc.norm(dim=1) < 8).reshape(1, 64, 32).repeat(32, 1, 1).byte()
    draws = [augment(disc, disc, torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(draws[0][0], draws[1][0])
    masks = draws[0][1]
    heights = masks.any(2).sum(1).float()
    widths = masks.any(1).sum(1).float()
    whole = masks.sum((1, 2)) > 0
    assert ((heights / widths)[whole].mean() - 1).abs() < 0.1
