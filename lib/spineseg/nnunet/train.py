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
FIRST_WIDTH = 32  # channels of the first stage of every network that nnU-Net plans


def train_nnunet(
    record: RunRecord,
    cache: Cache,
    folder: Path,
    start: Path | None = None,
    until: float = math.inf,
) -> None:
    """Train a run of nnU-Net, or resume it after its last finished epoch.

    The contract is that of `training.loop.train_network`. A run that starts from the run `start`
    takes its plan, too, because the weights fit only the network that was planned there. The losses
    in log.csv are nnU-Net's own, cross-entropy plus soft Dice. Its validation cases are the test
    cases. Nothing is selected by them: the weights are those of the last epoch. It computes in
    float16 on CUDA, as nnU-Net does; in bf16 on CPUs that are fast at it, as our own networks do;
    else in float32. Batches are drawn and augmented in this process.
    """
    begun = folder / WORK / BEGUN
    before = read_json(begun, ("record", "devices")) if begun.is_file() else None
    devices: list[str] = []
    if before and can_resume(RunRecord.from_json(before["record"]), record, folder):
        devices = before["devices"]
    else:
        shutil.rmtree(folder / WORK, ignore_errors=True)
    plan(cache, record, folder, start)
    with claim_gpu() as gpu:
        fabric = make_fabric(FIRST_WIDTH, gpu=gpu or 0)  # on CUDA, nnU-Net sets its own precision
        devices = list(dict.fromkeys([*devices, _describe(fabric)]))
        write_json(begun, {"record": record.to_json(), "devices": devices})
        with nnunet_folders(folder, nnUNet_n_proc_DA="0", nnUNet_compile="false") as work:
            trainer = build_trainer(work, folder, record, fabric, start)
            trainer.run(f"train {record.title}", until)
    if trainer.is_done:
        _keep(trainer, folder, record)
        seconds = trainer.table()["seconds"].sum()
        words, precision = ", then ".join(devices), devices[-1].rpartition(", ")[2]
        finish_run(folder, record, words, precision, seconds, ("nnunetv2",))
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


def _describe(fabric: Fabric) -> str:
    """The device as results name it, with the precision that nnU-Net computes in."""
    words = describe_device(fabric)
    return f"{words.rpartition(', ')[0]}, float16" if fabric.device.type == "cuda" else words
