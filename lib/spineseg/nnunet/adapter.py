"""nnU-Net-2D, which the paper compares itself with: the package `nnunetv2` itself, not a copy.

Isensee et al. 2021 (doi:10.1038/s41592-020-01008-z). It gets the unified, cropped slices that our
own networks get, and plans its network, patch and batch from the training cases of a fold. How long
it trains comes from the profile. Where that asks for SGD, as the paper's does, the recipe is
nnU-Net's own; where it asks for AdamW, two variants that nnU-Net brings along take part, for in 300
batches its own recipe stays at DSC 0.
"""

import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
import torch
from lightning_fabric import Fabric, seed_everything
from torch.serialization import safe_globals
from tqdm import tqdm

from spineseg.data.cache import Cache, Grid
from spineseg.data.preprocess import prepare, target_grid
from spineseg.data.volume import read_scan, to_canonical
from spineseg.experiment import Experiment
from spineseg.labels import CLASSES
from spineseg.methods import INSTALL_NNUNET, NNUNET
from spineseg.runs import (
    LOG,
    RunError,
    can_resume,
    finish_run,
    finished_facts,
    is_finished,
    require_same_record,
    retrain_remedy,
    run_facts,
)
from spineseg.training.device import describe_device
from spineseg.training.loop import CHECKPOINT, load_checkpoint
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write, folder_lock, read_json, write_csv, write_json
from spineseg.utils.progress import progress_bar
from spineseg.workflow.predict import Segmenter

try:
    from nnunetv2.dataset_conversion.generate_dataset_json import generate_dataset_json
    from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import (
        DatasetFingerprintExtractor,
    )
    from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import (
        ExperimentPlanner,
    )
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
    from nnunetv2.run.run_training import maybe_load_checkpoint
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import (  # noqa: E501
        nnUNetTrainerNoMirroring,
    )
    from nnunetv2.training.nnUNetTrainer.variants.optimizer.nnUNetTrainerAdam import (
        nnUNetTrainerAdam1en3,
    )
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
except ModuleNotFoundError as error:
    raise RunError(f"{error}; `{INSTALL_NNUNET}` installs nnU-Net") from None

BEGUN = "begun.json"
CONFIGURATION = "2d"
DATASET = "Dataset001_spine"
DATASET_JSON = "dataset.json"
LARGEST_BATCH = 7  # what it plans at the paper's 880 x 464; of smaller slices it would take 81
NUMPY_NUMBERS: list[Any] = [  # in the log that its checkpoints hold
    np.float64().__reduce__()[0],
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64")),
]
PLANNED_NAMES = {
    *("DefaultPreprocessor", "LabelManager", "ZScoreNormalization", "nnUNetPlans_2d"),
    *("resample_data_or_seg_to_shape", "conv_op", "norm_op", "dropout_op", "nonlin"),
    "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.instancenorm.InstanceNorm2d",
    "torch.nn.LeakyReLU",
}
PLANS = "plans.json"
PLANS_NAME = "nnUNetPlans"
PRINTS = "nnunet.log"
TEST_SHARE = 10  # training batches a test batch
WORK = "nnunet"  # in the run's folder: all that nnU-Net writes until the run is finished


def train_nnunet(experiment: Experiment, fold: int | str) -> Path:
    """Train nnU-Net on a fold to its end and return the run's folder.

    The same contract as `train`: a finished run is returned at once, an interrupted one goes on
    after its last whole epoch. The losses in log.csv are nnU-Net's own, cross-entropy plus soft
    Dice; its validation cases are the held-out ones, by which nothing is selected: the weights are
    those of the last epoch. It computes in float32, on CUDA in float16, as nnU-Net has it, and
    draws and augments its batches in this process. Raises UserError for bad scans and RunError for
    a finished run of other scans, settings or code.
    """
    cache = prepare(experiment)
    folder = experiment.run(NNUNET, fold)
    facts = run_facts(experiment, cache, NNUNET, fold, experiment.profile.nnunet_epochs)
    if is_finished(folder):
        require_same_record(finished_facts(folder), facts, folder)
        return folder
    with folder_lock(folder):
        _train(experiment, cache, facts, folder)
    return folder


def _train(experiment: Experiment, cache: Cache, facts: dict[str, Any], folder: Path) -> None:
    begun = folder / WORK / BEGUN
    devices = []
    before = read_json(begun, ("facts", "devices")) if begun.is_file() else None
    if before and can_resume(before["facts"], facts, folder):
        devices = before["devices"]
    else:
        shutil.rmtree(folder / WORK, ignore_errors=True)
    plan(experiment, cache, facts, folder)
    devices = list(dict.fromkeys([*devices, _device()]))
    write_json(begun, {"facts": facts, "devices": devices})
    with nnunet_folders(folder, nnUNet_n_proc_DA="0", nnUNet_compile="false") as work:
        trainer = build_trainer(work, folder, facts)
        trainer.run(desc=f"train {NNUNET} fold {facts['fold']}")
    _keep(trainer, folder, facts)
    seconds = trainer.table()["seconds"].sum()
    finish_run(folder, facts, ", then ".join(devices), seconds, packages=("nnunetv2",))
    shutil.rmtree(folder / WORK)


class Trainer(nnUNetTrainer):
    """nnU-Net's trainer, told how long to train, and its progress told to the user."""

    folder: Path
    seed: int
    held_out: bool
    bar: tqdm

    def run(self, desc: str) -> None:
        """Train the epochs that are still to do; a checkpoint after each."""
        with progress_bar(
            desc=desc,
            total=self.num_epochs * self.num_iterations_per_epoch,
            initial=self.current_epoch * self.num_iterations_per_epoch,
            unit="batch",
        ) as self.bar:
            self.run_training()

    def on_train_epoch_start(self) -> None:
        seed_everything(self.seed * 1_000_003 + self.current_epoch, verbose=False)
        super().on_train_epoch_start()

    def train_step(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.bar.update()
        return super().train_step(batch)

    def on_epoch_end(self) -> None:
        super().on_epoch_end()
        table = self.table()
        write_csv(self.folder / LOG, table)
        epoch, train, test = table.iloc[-1][["epoch", "train_loss", "test_loss"]]
        self.bar.set_postfix(epoch=int(epoch), train=f"{train:.3f}", test=f"{test:.3f}")

    def save_checkpoint(self, filename: str) -> None:
        """Whole or not at all; nobody asks for the best one."""
        if not filename.endswith("checkpoint_best.pth"):
            with atomic_write(Path(filename)) as temporary:
                super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename: str) -> None:
        """Raises RunError for one that nnU-Net did not write."""
        try:
            with safe_globals(NUMPY_NUMBERS):
                super().load_checkpoint(filename)
        except Exception:
            what = "damaged, or holds more than tensors and plain values"
            raise RunError(f"{filename}: {what}; {retrain_remedy(self.folder)}") from None

    def table(self) -> pd.DataFrame:
        """One row for each epoch so far, as in the log of our own networks."""

        def column(name: str) -> np.ndarray:
            return np.array(self.logger.get_value(name, step=None))

        return pd.DataFrame(
            {
                "epoch": np.arange(len(column("lrs"))) + 1,
                "train_loss": column("train_losses"),
                "test_loss": column("val_losses") if self.held_out else math.nan,
                "learning_rate": column("lrs"),
                "seconds": column("epoch_end_timestamps") - column("epoch_start_timestamps"),
            }
        )


class QuickTrainer(Trainer, nnUNetTrainerAdam1en3, nnUNetTrainerNoMirroring):
    """AdamW at 0.001 without mirroring, which here swaps what tells the vertebrae apart."""


TRAINERS = {"sgd": Trainer, "adamw": QuickTrainer}


class NnunetSegmenter(Segmenter):
    """A run of nnU-Net with its own predictor: tiles half a tile apart, mirrored as in training."""

    def __init__(self, run: Path):
        self.facts = finished_facts(run)
        grid = self.facts["grid"]
        self.grid = Grid(grid["slices"], grid["size"], tuple(grid["columns"]))
        plans = PlansManager(_read_plans(run))
        dataset = read_json(run / DATASET_JSON, ("labels",), retrain_remedy(run))
        self.spacing = plans.original_median_spacing_after_transp
        configuration = plans.get_configuration(CONFIGURATION)
        classes = plans.get_label_manager(dataset).num_segmentation_heads
        network = nnUNetTrainer.build_network_architecture(plans, configuration, 1, classes, False)
        with redirect_stdout(None):
            self.predictor = nnUNetPredictor(device=_fabric().device, allow_tqdm=False)
        saved = load_checkpoint(run)
        self.predictor.manual_initialization(
            network,
            plans,
            configuration,
            [saved["network"]],
            dataset,
            nnUNetTrainer.__name__,
            saved["mirror_axes"],
        )

    def probabilities(self, gray: np.ndarray) -> np.ndarray:
        image = gray[None].astype(np.float32)
        _, classes_first = self.predictor.predict_single_npy_array(
            image, {"spacing": self.spacing}, save_or_return_probabilities=True
        )
        return np.ascontiguousarray(np.moveaxis(classes_first, 0, -1))


def _read_plans(run: Path) -> dict[str, Any]:
    """The plans of a finished run; nnU-Net imports and calls what they name, whatever it is.

    Raises UserError where that is anything that its own planner does not name.
    """
    path = run / PLANS
    plans = read_json(path, ("configurations", "label_manager"), retrain_remedy(run))
    try:
        used = [plans["configurations"][CONFIGURATION], plans["label_manager"]]
    except (LookupError, TypeError):
        raise UserError.at(path, f"damaged: lacks {CONFIGURATION}", retrain_remedy(run)) from None
    if odd := set(_strings(used)) - PLANNED_NAMES:
        what = f"names {ascii(min(odd))[:80]}, which nnU-Net's planner does not"
        raise UserError.at(path, what, retrain_remedy(run))
    return plans


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, keys left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)


@contextmanager
def nnunet_folders(folder: Path, **settings: str) -> Iterator[Path]:
    """nnU-Net's folders lie in the run's, and its prints go to a file there.

    It takes both from the environment, which is as it was afterwards. So does torch the order to
    unpickle nothing but tensors and plain values, though nnU-Net asks for all.
    """
    work = folder / WORK
    places = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    before = dict(os.environ)
    os.environ.update(places | settings | {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"})
    try:
        with (folder / PRINTS).open("a") as prints, redirect_stdout(prints):
            yield work
    finally:
        os.environ.clear()
        os.environ.update(before)


def plan(experiment: Experiment, cache: Cache, facts: dict[str, Any], folder: Path) -> None:
    """Hand over the cases, plan on those for training, preprocess all.

    An interrupted run does so again: what nnU-Net leaves there it unpickles, so files that came
    from elsewhere could run code. Equal cases give an equal plan.
    """
    raw, preprocessed = (folder / WORK / name / DATASET for name in ("raw", "preprocessed"))
    for made in (raw, preprocessed):
        shutil.rmtree(made.parent, ignore_errors=True)
        made.mkdir(parents=True)
    train, test = facts["train"], facts["test"]

    def hand_over() -> None:
        _write_volumes(cache, facts, _spacing(experiment, facts), raw)
        write_list(raw, train)

    def fingerprint() -> None:
        extractor = DatasetFingerprintExtractor(DATASET, num_processes=1)
        extractor.show_progress_bar = False
        extractor.run()

    def plan_network() -> None:
        ExperimentPlanner(DATASET, suppress_transpose=True).plan_experiment()

    def preprocess() -> None:
        write_list(preprocessed, train + test)
        preprocessor = DefaultPreprocessor(verbose=False)
        preprocessor.show_progress_bar = False
        preprocessor.run(DATASET, CONFIGURATION, PLANS_NAME, num_processes=1)
        split = {"train": train, "val": test or train}
        write_json(preprocessed / "splits_final.json", [split])

    steps: tuple[Callable[[], None], ...] = (hand_over, fingerprint, plan_network, preprocess)
    with nnunet_folders(folder):
        for step in progress_bar(steps, desc=f"plan {NNUNET} fold {facts['fold']}", unit="step"):
            step()


def _spacing(experiment: Experiment, facts: dict[str, Any]) -> list[float]:
    """The training cases' median spacing on the unified grid, mm: column, row, slice."""
    training = set(facts["train"])
    slices, size = facts["grid"]["slices"], facts["grid"]["size"]
    spacings = [
        target_grid(to_canonical(read_scan(case.image)), slices, size).GetSpacing()
        for case in experiment.cases()
        if case.id in training
    ]
    return np.median(spacings, axis=0).tolist()


def _write_volumes(cache: Cache, facts: dict[str, Any], spacing: list[float], raw: Path) -> None:
    """Every case's cropped slices and classes as NIfTI."""
    window = slice(*facts["grid"]["columns"])
    for folder, volumes, ending in (
        ("imagesTr", cache.images, "_0000.nii.gz"),
        ("labelsTr", cache.masks, ".nii.gz"),
    ):
        (raw / folder).mkdir()
        for case, volume in zip(cache.index["cases"], volumes, strict=True):
            image = sitk.GetImageFromArray(volume[..., window])
            image.SetSpacing(spacing)
            sitk.WriteImage(image, raw / folder / f"{case}{ending}")


def write_list(folder: Path, cases: list[str]) -> None:
    """dataset.json: what nnU-Net takes to be all the cases there are."""
    generate_dataset_json(
        str(folder),
        channel_names={0: "MR"},
        labels={name: index for index, name in enumerate(("background", *CLASSES[1:]))},
        num_training_cases=len(cases),
        file_ending=".nii.gz",
        dataset={
            case: {
                "images": [f"imagesTr/{case}_0000.nii.gz"],
                "label": f"labelsTr/{case}.nii.gz",
            }
            for case in cases
        },
    )


def build_trainer(work: Path, folder: Path, facts: dict[str, Any]) -> Trainer:
    """The trainer of a planned run, at the epoch it came to."""
    preprocessed = work / "preprocessed" / DATASET
    plans = read_json(preprocessed / f"{PLANS_NAME}.json") | {"continue_training": True}
    plan = plans["configurations"][CONFIGURATION]
    plan["batch_size"] = min(plan["batch_size"], LARGEST_BATCH)
    dataset = read_json(preprocessed / DATASET_JSON)
    profile = facts["profile"]
    seed_everything(profile["seed"], verbose=False)
    trainer_class = TRAINERS[profile["optimizer"]]
    trainer = trainer_class(plans, CONFIGURATION, 0, dataset, _fabric().device)
    trainer.folder, trainer.held_out, trainer.seed = folder, bool(facts["test"]), profile["seed"]
    trainer.num_epochs = facts["epochs"]
    trainer.num_iterations_per_epoch = profile["nnunet_iterations"]
    trainer.num_val_iterations_per_epoch = -(-trainer.num_iterations_per_epoch // TEST_SHARE)
    trainer.save_every = 1
    trainer.logger.plot_progress_png = lambda folder: None  # log.csv has it all
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    return trainer


def _keep(trainer: Trainer, folder: Path, facts: dict[str, Any]) -> None:
    """Save what prediction needs: the plans, the list of planned cases, and the network."""
    shutil.copy(Path(trainer.output_folder_base) / PLANS, folder)
    shutil.copy(folder / WORK / "raw" / DATASET / DATASET_JSON, folder)
    checkpoint = {
        "facts": facts,
        "network": trainer.network.state_dict(),
        "mirror_axes": trainer.inference_allowed_mirroring_axes,
    }
    with atomic_write(folder / CHECKPOINT) as temporary:
        torch.save(checkpoint, temporary)


def _fabric() -> Fabric:
    """One GPU, else the CPU; precision is nnU-Net's own affair."""
    return Fabric(accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=1)


def _device() -> str:
    """The device as results carry it, with nnU-Net's own precision."""
    fabric = _fabric()
    name = describe_device(fabric).rpartition(", ")[0]
    return f"{name}, {'float16' if fabric.device.type == 'cuda' else 'float32'}"
