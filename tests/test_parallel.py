"""Two CPU processes against one. In float64, for there rounding hides nothing: AdamW blows up the
rounding of float32 until two processes differ from one as much as two threads do (docs/scaling.md).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist
from torch import nn

from spineseg import cli
from spineseg.experiment import Experiment
from spineseg.parallel import (
    ProcessError,
    count_processes,
    launch,
    parallel_fabric,
    share_statistics,
)
from spineseg.runs import RunError, is_finished
from spineseg.training.loop import load_checkpoint, train
from spineseg.utils.files import read_json
from spineseg.utils.paths import PROFILES

TOLERANCE = 1e-5  # of a loss near 2, and of weights
LOSSES = ["train_loss", "test_loss"]
FLOAT64 = """
import sys
from spineseg import cli
from spineseg.training import device
device._precision = lambda: "64-true"
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """What processes take from each other, threads do not."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> Path:
    """The smoke profile with fewer batches, of an odd size."""
    path = tmp_path_factory.mktemp("profile") / "odd.yaml"
    text = (PROFILES / "smoke.yaml").read_text()
    for old, new in (("batch_size: 8", "batch_size: 5"), ("epoch: 64", "epoch: 20")):
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def alone(phantom, profile, tmp_path_factory) -> Path:
    """The run of one process."""
    root = tmp_path_factory.mktemp("alone")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        patch.setattr("spineseg.training.device._precision", lambda: "64-true")
        return train(Experiment.of(phantom, profile), "unet")


def start(root: Path, phantom: Path, profile: Path, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-c", FLOAT64, "train", "--data", str(phantom), "--model", "unet"]
    return subprocess.Popen(
        [*command, "--profile", str(profile), *more],
        env={**os.environ, "SPINESEG_ROOT": str(root), "TQDM_DISABLE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def children(process: subprocess.Popen) -> list[int]:
    """The processes that train: spawned ones, without multiprocessing's tracker."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [
        pid
        for pid in map(int, listed)
        if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def assert_same_run(run: Path, other: Path) -> None:
    saved, expected = load_checkpoint(run), load_checkpoint(other)
    curves = [pd.DataFrame(each["log"])[LOSSES] for each in (saved, expected)]
    np.testing.assert_allclose(*curves, atol=TOLERANCE, rtol=0)
    assert saved["network"].keys() == expected["network"].keys()
    for name, value in saved["network"].items():
        torch.testing.assert_close(value, expected["network"][name], atol=TOLERANCE, rtol=TOLERANCE)


def test_one_process_then_two_then_one_end_like_one(alone, phantom, profile, tmp_path, monkeypatch):
    """Stopped after an epoch; with two processes, one of which is killed; then alone again."""
    root, run = tmp_path, tmp_path / "runs" / alone.parent.name / alone.name
    monkeypatch.setenv("SPINESEG_ROOT", str(root))
    monkeypatch.setattr("spineseg.training.device._precision", lambda: "64-true")
    command = ["train", "--data", str(phantom), "--model", "unet", "--profile", str(profile)]

    def interrupt(*_) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("spineseg.training.loop.Training._test_loss", interrupt)
        assert cli.main(command) == 1
    with monkeypatch.context() as patch:
        patch.setattr("lightning_fabric.Fabric.barrier", interrupt)  # after the first checkpoint
        assert cli.main(command) == 1
    assert len(pd.read_csv(run / "log.csv")) == 1

    two = start(root, phantom, profile, "--devices", "2")
    while two.poll() is None and len(pd.read_csv(run / "log.csv")) < 2:
        time.sleep(0.01)
    trainers = children(two)
    assert len(trainers) == 2
    os.kill(trainers[1], signal.SIGKILL)
    _, said = two.communicate(timeout=60)
    assert two.returncode == 1
    assert "process 2 of 2 was ended (SIGKILL); the same command goes on" in said
    assert "Traceback" not in said
    assert not any(Path(f"/proc/{pid}").exists() for pid in trainers)
    assert not is_finished(run)

    assert cli.main(command) == 0
    assert_same_run(run, alone)
    one = "CPU, 1 thread, float64"
    device = read_json(run / "run.json")["device"]
    assert [part.split(" x ")[0] for part in device.split(", then ")][1] == "2"
    assert device.count(one) == 2


def test_two_processes_end_like_one(alone, phantom, profile, tmp_path):
    two = start(tmp_path, phantom, profile, "--devices", "2", "--score")
    said, _ = two.communicate(timeout=120)
    assert two.returncode == 0
    run = tmp_path / "runs" / alone.parent.name / alone.name
    assert said.splitlines() == [str(run)]
    assert (run / "scores.csv").is_file()
    assert read_json(run / "run.json")["device"].startswith("2 x ")
    assert_same_run(run, alone)


def normalise(fabric, folder: Path) -> None:
    """Each process gives its share to BN; then one of them fails while the other waits."""
    torch.manual_seed(0)
    images, weights = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    network = share_statistics(nn.Sequential(nn.BatchNorm2d(3)).double(), fabric)
    share = images[fabric.global_rank :: 2].requires_grad_()
    normalised = network(share)
    (normalised * weights[fabric.global_rank :: 2]).sum().backward()
    saved = {"normalised": normalised.detach(), "gradient": share.grad, **network.state_dict()}
    torch.save(saved, folder / f"{fabric.global_rank}.pt")
    fabric.barrier()
    if fabric.global_rank == 1:
        raise OSError(f"{folder}: disk full")
    dist.barrier()


def test_shared_bn_is_that_of_the_whole_batch_and_a_failure_ends_all(tmp_path):
    with pytest.raises(ProcessError, match=f"^{tmp_path}: disk full$"):
        launch(parallel_fabric(2), normalise, tmp_path)
    shares = [torch.load(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    torch.manual_seed(0)
    images, weights = torch.randn(2, 5, 3, 4, 4, dtype=torch.float64)
    images.requires_grad_()
    network = nn.Sequential(nn.BatchNorm2d(3)).double()
    whole = network(images)
    (whole * weights).sum().backward()
    for rank, share in enumerate(shares):
        torch.testing.assert_close(share["normalised"], whole[rank::2].detach())
        torch.testing.assert_close(share["gradient"], images.grad[rank::2])
        for name, value in network.state_dict().items():
            torch.testing.assert_close(share[name], value)


@pytest.mark.parametrize(
    ("model", "devices", "words"),
    [
        ("unet", 9, "unet: 9 processes cannot share a batch of 8"),
        ("unet3d", 2, "unet3d: 2 processes cannot share a batch of 1"),
        ("nnunet", 2, "nnunet: trains on one device, not on 2"),
    ],
)
def test_what_cannot_be_shared_out(model, devices, words, phantom, workspace):
    with pytest.raises(RunError, match=words):
        train(Experiment.of(phantom, "smoke"), model, devices=devices)
    assert not list(workspace.iterdir())


def test_torchrun_says_how_many(monkeypatch):
    assert count_processes(3) == 3
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "a")
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert count_processes() == count_processes(2) == 4
    with pytest.raises(ValueError, match="3 devices, but torchrun started 2 processes a host"):
        count_processes(3)
