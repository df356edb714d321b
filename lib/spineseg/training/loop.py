"""The training loop of our own networks (sections 2.5 and 2.7)."""

import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm import tqdm

from spineseg.data.cache import Cache
from spineseg.methods import METHODS
from spineseg.models import build_model
from spineseg.models.fast import make_fast, memory_format
from spineseg.profiles import Profile
from spineseg.runs import LOG, RunRecord, can_resume, finish_run
from spineseg.training.checkpoint import CHECKPOINT, load_checkpoint, load_state, save_checkpoint
from spineseg.training.cuda_graph import GraphedStep, Step
from spineseg.training.device import (
    PRECISIONS,
    claim_gpu,
    describe_device,
    make_fabric,
    precision_for,
    single_thread_for_conv3d,
)
from spineseg.training.randomise import randomise
from spineseg.training.transforms import add_noise, augment, standardise
from spineseg.utils.files import write_csv
from spineseg.utils.progress import progress_bar

DECAY = 0.99  # Eq. 4
WARM_UP = 0.15  # share of one cycle in which the learning rate rises
STATE = ("network", "optimizer", "schedule", "log", "devices", "precision")
# Each epoch has seeds of its own, so that a resumed run draws what an unbroken one does.
EPOCHS_PER_SEED = 1_000_003
SEEDS_PER_EPOCH = 1009
PIXELS_TOGETHER = 1 << 19  # about as many are varied, or tested, at a time
SECONDS_BETWEEN_CHECKPOINTS = 10.0


def train_network(
    record: RunRecord,
    cache: Cache,
    folder: Path,
    start: Path | None = None,
    until: float = math.inf,
) -> None:
    """Train a run, or resume it from its last checkpoint.

    The folder gets checkpoint.pt and log.csv (one row per epoch) and, when the run is finished,
    run.json. A new run starts from the weights of the finished run `start`, if given. An unfinished
    run of other scans, settings or code starts from scratch. No epoch begins that would end after
    `until` (of `time.monotonic`); then the run stays unfinished.
    """
    saved = load_checkpoint(folder, STATE) if (folder / CHECKPOINT).is_file() else None
    if saved and not can_resume(saved["record"], record, folder):
        saved = None
    precision = saved["precision"] if saved else precision_for(record.profile.width)
    with claim_gpu() as gpu, single_thread_for_conv3d(METHODS[record.model].volumetric):
        training = Training(record, cache, make_fabric(precision=precision, gpu=gpu or 0))
        if saved:
            training.restore(saved, folder)
        elif start:
            load_state(training.network, load_checkpoint(start), start)
        training.run(folder, until)
    if training.is_done:
        seconds = sum(row["seconds"] for row in training.log)
        devices = ", then ".join(training.devices)
        finish_run(folder, record, devices, PRECISIONS[precision], seconds)


def batch_size(model: str, profile: Profile) -> int:
    """Slices per batch; for a volumetric network, volumes per batch."""
    return profile.volume_batch_size if METHODS[model].volumetric else profile.batch_size


class Training:
    """The state of a training run: network, optimizer, schedule, log."""

    def __init__(self, record: RunRecord, cache: Cache, fabric: Fabric):
        self.record, self.profile, self.fabric = record, record.profile, fabric
        self.method = METHODS[record.model]
        self.images, self.masks = self._samples(cache, record.train)
        self.test_images, self.test_masks = self._samples(cache, record.test)
        self.batch_size = batch_size(record.model, self.profile)
        wanted = self._sample_count(self.images, self.profile.slices_per_epoch)
        self.epoch_size = max(wanted, self.batch_size)
        self.test_size = self._sample_count(self.test_images, self.profile.test_slices)
        self.batches = self.epoch_size // self.batch_size
        torch.manual_seed(record.seed)
        network = build_model(record.model, self.profile.width, stages=self.profile.stages)
        network = make_fast(network)
        self.memory_format = memory_format(network)
        optimizer = _optimizer(network, self.profile, fabric.device)
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.step: Step = self._update
        if fabric.device.type == "cuda" and record.grid.pixel is None:
            self.step = GraphedStep(self._update)
        self.schedule = _schedule(
            optimizer, self.profile, self.batches, record.epochs * self.batches
        )
        self.log: list[dict[str, float]] = []
        self.devices: list[str] = []  # in the order in which they took part

    @property
    def is_done(self) -> bool:
        return len(self.log) == self.record.epochs

    def restore(self, saved: dict[str, Any], folder: Path) -> None:
        for name in ("network", "optimizer", "schedule"):
            load_state(getattr(self, name), saved, folder, name)
        for group in self.optimizer.param_groups:  # the saved ones are those of another device
            group |= _on_device(self.profile, float(group["lr"]), self.fabric.device)
        self.log = saved["log"]
        self.devices = saved["devices"]

    def save(self, folder: Path) -> None:
        save_checkpoint(
            folder,
            self.record,
            network=self.network.state_dict(),
            optimizer=self.optimizer.state_dict(),
            schedule=self.schedule.state_dict(),
            log=self.log,
            devices=self.devices,
            precision=self.fabric.strategy.precision.precision,
        )
        self._write_log(folder)

    def _write_log(self, folder: Path) -> None:
        write_csv(folder / LOG, pd.DataFrame(self.log))

    def run(self, folder: Path, until: float = math.inf) -> None:
        """Train the remaining epochs, and save checkpoints on the way and at the end.

        No epoch begins that would end after `until` (of `time.monotonic`).
        """
        done = saved = len(self.log)
        saved_at = -math.inf
        device = describe_device(self.fabric)
        if not self.is_done and device not in self.devices:
            self.devices.append(device)
        with progress_bar(
            desc=f"train {self.record.title}",
            total=self.record.epochs * self.batches,
            initial=done * self.batches,
            unit="batch",
        ) as bar:
            for epoch in range(done, self.record.epochs):
                if time.monotonic() + self._epoch_seconds() > until:
                    break
                self.log.append({"epoch": epoch + 1, **self._epoch(epoch, bar)})
                if time.monotonic() > saved_at + SECONDS_BETWEEN_CHECKPOINTS:
                    self.save(folder)
                    saved, saved_at = len(self.log), time.monotonic()
        if saved < len(self.log):
            self.save(folder)
        elif self.log:
            self._write_log(folder)

    def _epoch_seconds(self) -> float:
        """How long the last epoch took; 0 before the first."""
        return self.log[-1]["seconds"] if self.log else 0.0

    def _epoch(self, epoch: int, bar: tqdm) -> dict[str, float]:
        started = time.perf_counter()
        rate = float(self.schedule.get_last_lr()[0])
        train_loss = self._train_epoch(epoch, bar)
        test_loss = self._test_loss()
        bar.set_postfix(epoch=epoch + 1, train=f"{train_loss:.3f}", test=f"{test_loss:.3f}")
        return {
            "train_loss": train_loss,
            "test_loss": test_loss,
            "learning_rate": rate,
            "seconds": time.perf_counter() - started,
        }

    def _train_epoch(self, epoch: int, bar: tqdm) -> float:
        """Train one epoch and return the mean loss over its batches."""
        self.network.train()
        seed = self.record.seed * EPOCHS_PER_SEED + epoch
        generator = torch.Generator().manual_seed(seed * SEEDS_PER_EPOCH)
        total = torch.zeros((), device=self.fabric.device)
        for images, masks in self._batches(seed, generator):
            total += self.step(images, masks)
            self.schedule.step()
            bar.update()
        return (total / self.batches).item()

    def _batches(self, seed: int, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor]]:
        """The varied images and masks of each batch, without a last, incomplete batch."""
        order = epoch_order(len(self.images), self.epoch_size, seed).to(self.fabric.device)
        order = order[: self.batches * self.batch_size]
        for samples in order.split(self._varied_together()):
            images, masks = self._varied(self.images[samples], self.masks[samples], generator)
            yield from zip(images.split(self.batch_size), masks.split(self.batch_size), strict=True)

    def _varied_together(self) -> int:
        """The samples of the batches that are varied at a time.

        Windows of random size have one size per batch.
        """
        batches = 1 if self.record.grid.pixel else self._samples_together() // self.batch_size
        return self.batch_size * max(1, batches)

    def _samples_together(self) -> int:
        return max(1, PIXELS_TOGETHER // self.images[0].numel())

    def _update(self, images: Tensor, masks: Tensor) -> Tensor:
        """One step on a batch; returns its loss."""
        loss = self._loss(images, masks)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def _varied(
        self, images: Tensor, masks: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Samples after augmentation and noise, if the profile and the method ask for them.

        A network for scans of any kind sees windows of any kind.
        """
        if self.profile.augment:
            vary = randomise if self.record.grid.pixel else augment
            images, masks = vary(images, masks, generator)
        if self.method.noise:
            images = add_noise(images, self._noise_levels(images, generator), generator)
        return images, masks

    def _noise_levels(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """A k of Eq. 5 for each sample, uniform between 0 and the largest."""
        k = torch.rand(len(images), generator=generator) * self.method.noise
        return k.to(images.device).reshape(-1, *[1] * (images.ndim - 1))

    def _loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Eq. 1: cross-entropy, averaged over pixels."""
        inputs = standardise(images).contiguous(memory_format=self.memory_format)
        return F.cross_entropy(self.network(inputs), masks.long())

    @torch.no_grad()
    def _test_loss(self) -> float:
        """Eq. 1 on slices of the test cases; NaN if there are none."""
        if not len(self.test_images):
            return math.nan
        self.network.eval()
        wanted = min(self.test_size, len(self.test_images))
        picked = torch.linspace(0, len(self.test_images) - 1, wanted).long()
        total = torch.zeros((), device=self.fabric.device)
        for batch in picked.to(self.fabric.device).split(self._samples_together()):
            total += self._loss(self.test_images[batch], self.test_masks[batch]) * len(batch)
        return (total / wanted).item()

    def _sample_count(self, samples: Tensor, slices: int | None) -> int:
        """The number of samples that hold the given number of slices; None: all samples."""
        if slices is None:
            return len(samples)
        return slices // self.record.grid.slices if self.method.volumetric else slices

    def _samples(self, cache: Cache, ids: tuple[str, ...]) -> tuple[Tensor, Tensor]:
        """Cropped images and masks of these cases: uint8, (slices of all cases, rows, columns).

        For a volumetric network they are (cases, slices, rows, columns).
        """
        rows = cache.rows(ids)

        def gather(volumes: np.ndarray) -> Tensor:
            cropped = volumes[rows][..., self.record.grid.window]
            if not self.method.volumetric:
                cropped = cropped.reshape(-1, *cropped.shape[2:])
            return self.fabric.to_device(torch.from_numpy(cropped))

        return gather(cache.images), gather(cache.masks)


def epoch_order(available: int, wanted: int, seed: int) -> Tensor:
    """`wanted` sample numbers in random order, each equally often (plus or minus one)."""
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(wanted / available)
    orders = [torch.randperm(available, generator=generator) for _ in range(rounds)]
    return torch.cat(orders)[:wanted]


def _optimizer(network: nn.Module, profile: Profile, device: torch.device) -> torch.optim.Optimizer:
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[profile.optimizer]
    settings = _on_device(profile, profile.learning_rate, device)
    return kind(network.parameters(), weight_decay=profile.weight_decay, fused=True, **settings)


def _on_device(profile: Profile, learning_rate: float, device: torch.device) -> dict[str, Any]:
    """The learning rate of an optimizer, on a GPU in the form that a CUDA graph needs."""
    capturable = {"capturable": device.type == "cuda"} if profile.optimizer == "adamw" else {}
    rate = torch.tensor(learning_rate, device=device) if device.type == "cuda" else learning_rate
    return {"lr": rate, **capturable}


def _schedule(
    optimizer: torch.optim.Optimizer, profile: Profile, batches: int, steps: int
) -> LRScheduler:
    """Eq. 4 (times 0.99 after each epoch), or one cycle over the whole run; stepped per batch."""
    if profile.schedule == "exponential":
        return LambdaLR(optimizer, lambda step: DECAY ** (step // batches))
    return OneCycleLR(
        optimizer,
        profile.learning_rate,
        total_steps=steps,
        pct_start=WARM_UP,
        cycle_momentum=False,  # a CUDA graph keeps the momentum that it was recorded with
    )
