"""A run that is handed on with the repository."""

import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from spineseg.data.cache import Grid
from spineseg.experiment import Experiment
from spineseg.inference.network import NetworkSegmenter
from spineseg.models import build_model
from spineseg.runs import load_record
from spineseg.training import checkpoint
from spineseg.training.checkpoint import WEIGHTS, load_network, save_weights
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.workflow.bundle import bundle
from spineseg.workflow.train import train

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run on five randomised scans, and the folder that it is bundled into."""
    root = tmp_path_factory.mktemp("bundle")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        patch.setattr(paths, "BUNDLED", root / "weights")
        profile = replace(
            Experiment.of("randomised-5", "smoke").profile, width=4, epochs=1, slices_per_epoch=4
        )
        run = train(Experiment(Experiment.of("randomised-5").data, profile), fold="all")
        yield run, bundle(run)


def test_a_randomised_run_knows_its_pixel(finished):
    run, _ = finished
    assert load_record(run).grid.pixel == 2.4
    assert load_record(run).data_name == "randomised-5"


def test_a_bundled_run_labels_as_the_run_itself(finished):
    run, weights = finished
    gray = np.random.default_rng(0).integers(0, 256, (3, 48, 32), dtype=np.uint8)
    ours, theirs = (NetworkSegmenter(each).probabilities(gray) for each in (run, weights))
    assert ours.shape == (3, 48, 32, 9)
    assert np.abs(ours - theirs).max() < 0.02  # half precision
    assert load_record(weights).profile == load_record(run).profile


def test_a_run_can_be_bundled_into_another_folder(finished, tmp_path):
    run, weights = finished
    folder = bundle(run, tmp_path / "unet")
    assert folder == tmp_path / "unet"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
        path.name: path.read_bytes() for path in weights.iterdir()
    }


def test_a_network_stays_until_the_next_is_written(finished, tmp_path, monkeypatch):
    run, _ = finished
    folder = bundle(run, tmp_path / "weights")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    full = UserError.at("network.safetensors", "not written (no space left)", "make room")
    monkeypatch.setattr(checkpoint, "save_weights", Mock(side_effect=full))
    with pytest.raises(UserError, match="no space left"):
        bundle(run, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_bundled_network_is_small(tmp_path):
    save_weights(build_model("aspp_unet", 16), tmp_path)
    assert (tmp_path / WEIGHTS).stat().st_size <= 3 * MEGABYTE


def test_weights_are_tensors_and_nothing_else(finished):
    """The format has a length, a JSON header and raw numbers: nothing that could run code."""
    _, weights = finished
    content = (weights / WEIGHTS).read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    assert {entry["dtype"] for entry in header.values()} <= {"F16", "F32", "I64"}


def test_damaged_weights_are_one_line(finished, tmp_path):
    _, weights = finished
    for name in ("run.json", WEIGHTS):
        (tmp_path / name).write_bytes((weights / name).read_bytes())
    content = (tmp_path / WEIGHTS).read_bytes()
    for damage in (content[:100], b"", b"\xff" * 64, content[:-9]):
        (tmp_path / WEIGHTS).write_bytes(damage)
        with pytest.raises(UserError, match=r"^[^\n]*network\.safetensors: damaged[^\n]*$"):
            load_network(tmp_path)
    torch.save({"network": {}}, tmp_path / WEIGHTS)
    with pytest.raises(UserError, match="damaged"):
        load_network(tmp_path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data": "/scans/ours"}, "was trained on ours; bundle a run on simulated patients"),
        ({"model": "nnunet"}, "is of nnU-Net; bundle a network of this project"),
    ],
)
def test_runs_on_patients_and_of_nnunet_are_not_bundled(finished, tmp_path, change, words):
    run, _ = finished
    record = json.loads((run / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps(record | change))
    with pytest.raises(UserError, match=words):
        bundle(tmp_path)


def test_an_older_record_has_no_pixel(finished, tmp_path):
    run, _ = finished
    record = json.loads((run / "run.json").read_text())
    del record["grid"]["pixel"]
    (tmp_path / "run.json").write_text(json.dumps(record))
    grid = load_record(tmp_path).grid
    assert grid == Grid(grid.slices, grid.size, grid.columns, None)
