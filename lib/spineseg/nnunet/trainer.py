"""nnU-Net's trainer, told how long to train, with its progress shown to the user."""

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric, seed_everything
from torch.serialization import safe_globals
from tqdm import tqdm

from spineseg.nnunet.package import (
    CONFIGURATION,
    DATASET,
    DATASET_JSON,
    PLANS_NAME,
    maybe_load_checkpoint,
    nnUNetTrainer,
)
from spineseg.runs import LOG, RunRecord, retrain_remedy
from spineseg.training.checkpoint import load_checkpoint, load_state
from spineseg.training.loop import EPOCHS_PER_SEED
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write, read_json, write_csv
from spineseg.utils.progress import progress_bar

MAX_BATCH = 7  # nnU-Net plans 7 at the paper's 880 x 464, and would plan 81 for smaller slices
TRAINING_BATCHES_PER_TEST_BATCH = 10
NUMPY_NUMBERS: list[Any] = [  # in the log that its checkpoints hold
    np.float64().__reduce__()[0],
    np.dtype,
    *(type(np.dtype(name)) for name in ("float32", "float64", "int64")),
]


class TimeIsUpError(Exception):
    """Leaves nnU-Net's own loop between two epochs."""


class Trainer(nnUNetTrainer):
    """nnU-Net's trainer with our seeds, log, time limit and progress bar."""

    folder: Path
    fabric: Fabric
    seed: int
    has_test_cases: bool
    until: float = math.inf
    bar: tqdm

    @property
    def is_done(self) -> bool:
        return self.current_epoch >= self.num_epochs

    def run(self, desc: str, until: float) -> None:
        """Train the remaining epochs and save a checkpoint after each.

        No epoch begins that would end after `until` (of `time.monotonic`).
        """
        self.until = until
        with (
            progress_bar(
                desc=desc,
                total=self.num_epochs * self.num_iterations_per_epoch,
                initial=self.current_epoch * self.num_iterations_per_epoch,
                unit="batch",
            ) as self.bar,
            suppress(TimeIsUpError),
        ):
            self.run_training()

    def initialize(self) -> None:
        """Let the network compute in the fabric's precision, and return float32 for the loss."""
        super().initialize()
        precision, forward = self.fabric.strategy.precision, self.network.forward

        def forward_in_precision(images: torch.Tensor) -> Any:
            with precision.forward_context():
                outputs = forward(images)
            return precision.convert_output(outputs)

        self.network.forward = forward_in_precision

    def on_epoch_start(self) -> None:
        seconds = self.table()["seconds"]
        if time.monotonic() + (seconds.iloc[-1] if len(seconds) else 0.0) > self.until:
            raise TimeIsUpError
        super().on_epoch_start()

    def on_train_epoch_start(self) -> None:
        seed_everything(self.seed * EPOCHS_PER_SEED + self.current_epoch, verbose=False)
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
        """Write atomically; skip checkpoint_best, which is never used."""
        if not filename.endswith("checkpoint_best.pth"):
            with atomic_write(Path(filename)) as temporary:
                super().save_checkpoint(str(temporary))

    def load_checkpoint(self, filename: str) -> None:
        """Raises UserError for one that nnU-Net did not write."""
        try:
            with safe_globals(NUMPY_NUMBERS):
                super().load_checkpoint(filename)
        except Exception:
            what = "damaged, or holds more than tensors and plain values"
            raise UserError.at(filename, what, retrain_remedy(self.folder)) from None

    def table(self) -> pd.DataFrame:
        """One row per finished epoch, as in the log of our own networks."""

        def column(name: str) -> np.ndarray:
            return np.array(self.logger.get_value(name, step=None))

        return pd.DataFrame(
            {
                "epoch": np.arange(len(column("lrs"))) + 1,
                "train_loss": column("train_losses"),
                "test_loss": column("val_losses") if self.has_test_cases else math.nan,
                "learning_rate": column("lrs"),
                "seconds": column("epoch_end_timestamps") - column("epoch_start_timestamps"),
            }
        )


def build_trainer(
    work: Path, folder: Path, record: RunRecord, fabric: Fabric, start: Path | None = None
) -> Trainer:
    """The trainer of a planned run, at the epoch that it has reached.

    Before the first, it has the weights of the run `start`, if given.
    """
    preprocessed = work / "preprocessed" / DATASET
    plans = read_json(preprocessed / f"{PLANS_NAME}.json") | {"continue_training": True}
    configuration = plans["configurations"][CONFIGURATION]
    configuration["batch_size"] = min(configuration["batch_size"], MAX_BATCH)
    dataset = read_json(preprocessed / DATASET_JSON)
    profile = record.profile
    seed_everything(record.seed, verbose=False)
    trainer = Trainer(plans, CONFIGURATION, 0, dataset, fabric.device)
    trainer.folder, trainer.fabric, trainer.seed = folder, fabric, record.seed
    trainer.has_test_cases = bool(record.test)
    trainer.num_epochs = record.epochs
    trainer.num_iterations_per_epoch = profile.nnunet_iterations
    trainer.num_val_iterations_per_epoch = -(
        -profile.nnunet_iterations // TRAINING_BATCHES_PER_TEST_BATCH
    )
    trainer.save_every = 1
    trainer.logger.plot_progress_png = lambda folder: None  # log.csv has it all
    if start:
        trainer.initialize()
        load_state(trainer.network, load_checkpoint(start), start)
    maybe_load_checkpoint(trainer, continue_training=True, validation_only=False)
    return trainer
