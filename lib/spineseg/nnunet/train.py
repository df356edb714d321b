"""Train nnU-Net on a fold."""

import math
import shutil
from pathlib import Path
from typing import Any

from lightning_fabric import Fabric

from spineseg.data.cache import Cache
from spineseg.nnunet.package import DATASET, DATASET_JSON, PLANS, WORK, nnunet_folders
from spineseg.nnunet.plan import plan
from spineseg.nnunet.trainer import Trainer, build_trainer
from spineseg.runs import RunRecord, can_resume, finish_run
from spineseg.training.checkpoint import save_checkpoint
from spineseg.training.device import claim_gpu, describe_device, make_fabric
from spineseg.utils.files import read_json, write_json

BEGUN = "begun.json"


def train_nnunet(
    record: RunRecord,
    cache: Cache,
    folder: Path,
    start: Path | None = None,
    until: float = math.inf,
) -> None:
    """Train a run of nnU-Net, or resume it after its last finished epoch.

    The contract is that of `training.loop.train_network`, but a run always starts from random
    weights, so `start` is None. The losses in log.csv are nnU-Net's own,
    cross-entropy plus soft Dice. Its validation cases are the test cases. Nothing is selected by
    them: the weights are those of the last epoch. It computes in float32, on CUDA in float16, as
    nnU-Net does. Batches are drawn and augmented in this process.
    """
    begun = folder / WORK / BEGUN
    before = read_json(begun, ("record", "devices")) if begun.is_file() else None
    devices: list[str] = []
    if before and can_resume(RunRecord.from_json(before["record"]), record, folder):
        devices = before["devices"]
    else:
        shutil.rmtree(folder / WORK, ignore_errors=True)
    plan(cache, record, folder)
    with claim_gpu() as gpu:
        fabric = make_fabric(precision="32-true", gpu=gpu or 0)
        devices = list(dict.fromkeys([*devices, _describe(fabric)]))
        write_json(begun, {"record": record.to_json(), "devices": devices})
        with nnunet_folders(folder, nnUNet_n_proc_DA="0", nnUNet_compile="false") as work:
            trainer = build_trainer(work, folder, record, fabric.device)
            trainer.run(f"train {record.title}", until)
    if trainer.is_done:
        _keep(trainer, folder, record)
        seconds = trainer.table()["seconds"].sum()
        words, packages = ", then ".join(devices), ("nnunetv2",)
        finish_run(folder, record, words, _precision(fabric), seconds, packages)
        shutil.rmtree(folder / WORK)


def _keep(trainer: Trainer, folder: Path, record: RunRecord) -> None:
    """Save what prediction needs: the plans, the list of planned cases, and the network."""
    shutil.copy(Path(trainer.output_folder_base) / PLANS, folder)
    shutil.copy(folder / WORK / "raw" / DATASET / DATASET_JSON, folder)
    network: Any = trainer.network
    save_checkpoint(
        folder,
        record,
        network=network.state_dict(),
        mirror_axes=trainer.inference_allowed_mirroring_axes,
    )


def _precision(fabric: Fabric) -> str:
    """nnU-Net's own precision on a device."""
    return "float16" if fabric.device.type == "cuda" else "float32"


def _describe(fabric: Fabric) -> str:
    """The device as results name it, with nnU-Net's own precision."""
    return f"{describe_device(fabric).rpartition(', ')[0]}, {_precision(fabric)}"
