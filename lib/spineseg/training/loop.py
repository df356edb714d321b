"""Train one run: one model on one fold of one experiment (sections 2.5 and 2.7)."""

import math
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR
from tqdm import tqdm

from spineseg.data.cache import Cache, Grid
from spineseg.experiment import ALL, Experiment
from spineseg.methods import NNUNET
from spineseg.models import MODELS, build_model
from spineseg.parallel import (
    count_processes,
    is_first_process,
    launch,
    parallel_fabric,
    share_statistics,
)
from spineseg.profiles import Profile
from spineseg.runs import (
    FINISHED,
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
from spineseg.training.device import describe_device, single_thread_for_conv3d
from spineseg.training.transforms import add_noise, augment, standardise
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write, folder_lock, write_csv
from spineseg.utils.progress import progress_bar

DECAY = 0.99  # Eq. 4
WARM_UP = 0.15  # share of one cycle in which the learning rate rises
CHECKPOINT = "checkpoint.pt"
CHECKPOINTED = ("facts", "network", "optimizer", "schedule", "log", "devices")


def train(
    experiment: Experiment, model: str = "aspp_unet", fold: int | str = 0, devices: int = 1
) -> Path:
    """Train a run to its end, on so many GPUs or CPU processes, and return its folder.

    A finished run is returned at once; an interrupted one goes on after its last whole epoch and
    ends with the same weights as if it had never stopped. The folder holds checkpoint.pt, log.csv
    (train and test loss an epoch) and, written last, run.json.
    Where the profile says so, a run on scans starts from the weights of one on the whole phantom,
    which is trained first. An unfinished run of other scans, settings or code is begun afresh.
    Raises UserError for bad scans, RunError for a finished run of such or one that cannot be shared
    out so, Busy where another process trains it, and ProcessError where one of several fails.
    """
    from spineseg.data.preprocess import prepare

    processes = count_processes(devices)
    if model == NNUNET:
        if processes > 1:
            raise RunError(f"{NNUNET}: trains on one device, not on {processes}")
        from spineseg.nnunet.adapter import train_nnunet

        return train_nnunet(experiment, fold)
    build_model(model, width=1)  # an unknown name ends here, before any work
    if processes > (batch := batch_size(model, experiment.profile)):
        raise RunError(f"{model}: {processes} processes cannot share a batch of {batch}")
    start = (
        train(experiment.phantom, model, ALL, devices) if experiment.starts_from_phantom else None
    )
    fabric = parallel_fabric(devices)
    with fabric.rank_zero_first():
        cache = prepare(experiment)
    folder = experiment.run(model, fold)
    facts = run_facts(experiment, cache, model, fold, experiment.epochs, start)
    if is_finished(folder):
        require_same_record(finished_facts(folder), facts, folder)
        return folder
    with folder_lock(folder) if is_first_process() else nullcontext():
        launch(fabric, train_on, facts, cache, experiment.profile, folder, start)
    return folder


def train_on(
    fabric: Fabric,
    facts: dict[str, Any],
    cache: Cache,
    profile: Profile,
    folder: Path,
    start: Path | None = None,
    until: float = math.inf,
) -> None:
    """One process's part in a run; no epoch is begun after `until` (of `time.monotonic`)."""
    training = Training(facts, cache, profile, fabric)
    begun = (folder / CHECKPOINT).is_file()
    saved = load_checkpoint(folder, CHECKPOINTED) if begun else None
    if saved and can_resume(saved["facts"], facts, folder):
        training.restore(saved, folder)
    elif start:
        _load(training.network, load_checkpoint(start), start)
    with single_thread_for_conv3d(training.model.volumetric):
        training.run(folder, until)
    if fabric.is_global_zero and len(training.log) == training.epochs:
        seconds = sum(row["seconds"] for row in training.log)
        finish_run(folder, facts, ", then ".join(training.devices), seconds)
    fabric.barrier()


def batch_size(model: str, profile: Profile) -> int:
    """Slices, or for a volumetric network volumes, a batch of all processes together."""
    return profile.volume_batch_size if MODELS[model].volumetric else profile.batch_size


def load_checkpoint(folder: Path, keys: Sequence[str] = ("facts", "network")) -> dict[str, Any]:
    """The checkpoint of a run: tensors and plain values only, nothing that could run code.

    Raises RunError where there is none, where it cannot be read, and where it lacks one of `keys`.
    """
    path = folder / CHECKPOINT
    try:
        with ZipFile(path) as parts:  # torch itself minds no checksum
            if odd := parts.testzip():
                raise RunError(f"{odd} is not what was written there")
        with warnings.catch_warnings(action="ignore"):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise RunError(f"{path}: no checkpoint; {retrain_remedy(folder)}") from None
    except Exception:  # its words may advise to trust the file
        what = "not a readable checkpoint (damaged, or more than tensors and plain values)"
        raise RunError(f"{path}: {what}; {retrain_remedy(folder)}") from None
    if not _has(saved, keys) or not _has(saved["facts"], ("model", "profile", "grid")):
        raise RunError(f"{path}: not the checkpoint of a run; {retrain_remedy(folder)}")
    return saved


def _has(content: Any, keys: Sequence[str]) -> bool:
    return isinstance(content, dict) and content.keys() >= set(keys)


def _load(part: Any, saved: Any, folder: Path, name: str = "network") -> None:
    """Put a checkpoint's state into a network, an optimizer or a schedule of the same shape."""
    try:
        part.load_state_dict(saved[name])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        what = f"does not fit this run ({name}: {str(error).splitlines()[-1].strip()})"
        raise UserError.at(folder / CHECKPOINT, what, retrain_remedy(folder)) from None


def load_network(folder: Path) -> tuple[nn.Module, Grid, dict[str, Any]]:
    """The trained network of a run in evaluation mode, its grid, and the run's facts."""
    saved = load_checkpoint(folder)
    facts = saved["facts"]
    if is_finished(folder):
        finished = finished_facts(folder)
        if facts != {key: finished.get(key) for key in facts}:
            what = f"of another run than {FINISHED}"
            raise UserError.at(folder / CHECKPOINT, what, retrain_remedy(folder))
    network = build_model(facts["model"], facts["profile"]["width"])
    _load(network, saved, folder)
    grid = facts["grid"]
    layout = MODELS[facts["model"]].memory_format
    return (
        network.eval().to(memory_format=layout),  # type: ignore[call-overload]
        Grid(grid["slices"], grid["size"], tuple(grid["columns"])),
        facts,
    )


class Training:
    """A network on its way: weights, optimiser, schedule and the log of the epochs so far."""

    def __init__(self, facts: dict[str, Any], cache: Cache, profile: Profile, fabric: Fabric):
        self.facts, self.profile, self.fabric = facts, profile, fabric
        self.model = MODELS[facts["model"]]
        self.images, self.masks = self._samples(cache, facts["train"])
        self.test_slices, self.test_masks = self._samples(cache, facts["test"])
        self.batch_size = batch_size(facts["model"], profile)
        self.epoch_size = max(
            self._how_many(self.images, profile.slices_per_epoch), self.batch_size
        )
        self.test_size = self._how_many(self.test_slices, profile.test_slices)
        self.batches = self.epoch_size // self.batch_size
        torch.manual_seed(profile.seed)
        network = build_model(facts["model"], profile.width)
        network = share_statistics(network, fabric)
        network = network.to(memory_format=self.model.memory_format)  # type: ignore[call-overload]
        optimizer = _optimizer(network, profile)
        self.network, self.optimizer = fabric.setup(network, optimizer)
        self.epochs = facts["epochs"]
        self.schedule = _schedule(optimizer, profile, self.batches, self.epochs * self.batches)
        self.log: list[dict[str, float]] = []
        self.devices: list[str] = []  # in the order in which they took part

    def restore(self, saved: dict[str, Any], folder: Path) -> None:
        for name in ("network", "optimizer", "schedule"):
            _load(getattr(self, name), saved, folder, name)
        self.log = saved["log"]
        self.devices = saved["devices"]

    def save(self, folder: Path) -> None:
        checkpoint = {
            "facts": self.facts,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "log": self.log,
            "devices": self.devices,
        }
        with atomic_write(folder / CHECKPOINT) as temporary:
            torch.save(checkpoint, temporary)
        write_csv(folder / LOG, pd.DataFrame(self.log))

    def run(self, folder: Path, until: float = math.inf) -> None:
        """Train the epochs that are still to do; a checkpoint after each, none begun after `until`
        (of `time.monotonic`)."""
        done = len(self.log)
        device = describe_device(self.fabric)
        if done < self.epochs and device not in self.devices:
            self.devices.append(device)
        with progress_bar(
            desc=f"train {self.facts['model']} fold {self.facts['fold']}",
            total=self.epochs * self.batches,
            initial=done * self.batches,
            unit="batch",
            shown=self.fabric.is_global_zero,
        ) as bar:
            for epoch in range(done, self.epochs):
                if time.monotonic() > until:
                    break
                self.log.append({"epoch": epoch + 1, **self._epoch(epoch, bar)})
                if self.fabric.is_global_zero:
                    self.save(folder)
                self.fabric.barrier()
        if self.log and self.fabric.is_global_zero:
            write_csv(folder / LOG, pd.DataFrame(self.log))

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
        self.network.train()
        seed = self.profile.seed * 1_000_003 + epoch
        draws = torch.Generator().manual_seed(seed * 1009)
        total = torch.zeros((), device=self.fabric.device)
        for batch in self._batches(seed):
            images, masks = self.images[batch], self.masks[batch]
            if self.profile.augment:
                images, masks = augment(images, masks, draws)
            if self.model.noise:
                images = add_noise(images, self._noise(images, draws), draws)
            loss = self._share_of_loss(images, masks)
            self.optimizer.zero_grad()
            self.fabric.backward(loss)
            self.optimizer.step()
            self.schedule.step()
            total += loss.detach()
            bar.update()
        mean = self.fabric.all_reduce(total / self.batches)
        assert isinstance(mean, Tensor)
        return mean.item()

    def _batches(self, seed: int) -> Iterator[Tensor]:
        """The samples of each batch; only a last, incomplete batch is left out."""
        order = epoch_order(len(self.images), self.epoch_size, seed).to(self.fabric.device)
        yield from order.split(self.batch_size)[: self.batches]

    def _noise(self, images: Tensor, draws: torch.Generator) -> Tensor:
        """For each sample a k of Eq. 5, evenly from 0 to the largest."""
        k = torch.rand(len(images), generator=draws) * self.model.noise
        return k.to(images.device).reshape(-1, *[1] * (images.ndim - 1))

    def _loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Eq. 1: cross-entropy, averaged over pixels."""
        inputs = standardise(images).contiguous(memory_format=self.model.memory_format)
        return F.cross_entropy(self.network(inputs), masks.long())

    def _share_of_loss(self, images: Tensor, masks: Tensor) -> Tensor:
        """Of a batch, what this process adds: the mean over processes is the batch's loss."""
        rank, processes = self.fabric.global_rank, self.fabric.world_size
        images, masks = images[rank::processes], masks[rank::processes]
        return self._loss(images, masks) * (len(images) * processes / self.batch_size)

    @torch.no_grad()
    def _test_loss(self) -> float:
        """Eq. 1 on held-out slices; NaN where nothing is held out."""
        if not len(self.test_slices):
            return math.nan
        self.network.eval()
        wanted = min(self.test_size, len(self.test_slices))
        picked = torch.linspace(0, len(self.test_slices) - 1, wanted).long()
        total = torch.zeros((), device=self.fabric.device)
        batches = picked.to(self.fabric.device).split(self.batch_size)
        for first in range(0, len(batches), self.fabric.world_size):
            mine = first + self.fabric.global_rank
            batch = batches[min(mine, len(batches) - 1)]  # DDP wants equally many passes of each
            loss = self._loss(self.test_slices[batch], self.test_masks[batch]) * len(batch)
            total += loss if mine < len(batches) else 0
        summed = self.fabric.all_reduce(total, reduce_op="sum")
        assert isinstance(summed, Tensor)
        return float(summed / wanted)

    def _how_many(self, samples: Tensor, slices: int | None) -> int:
        """How many samples hold that many slices; None: all there are."""
        if slices is None:
            return len(samples)
        return slices // self.facts["grid"]["slices"] if self.model.volumetric else slices

    def _samples(self, cache: Cache, ids: list[str]) -> tuple[Tensor, Tensor]:
        """What the network takes, cropped, and its masks: uint8, (slices of all cases, rows,
        columns) or, for a volumetric network, (cases, slices, rows, columns)."""
        window = slice(*self.facts["grid"]["columns"])
        rows = cache.rows(ids)

        def gather(volumes: np.ndarray) -> Tensor:
            cropped = volumes[rows][..., window]
            if not self.model.volumetric:
                cropped = cropped.reshape(-1, *cropped.shape[2:])
            return self.fabric.to_device(torch.from_numpy(cropped))

        return gather(cache.images), gather(cache.masks)


def epoch_order(available: int, wanted: int, seed: int) -> Tensor:
    """`wanted` slice numbers in random order, each as often as any other (give or take one)."""
    generator = torch.Generator().manual_seed(seed)
    rounds = math.ceil(wanted / available)
    orders = [torch.randperm(available, generator=generator) for _ in range(rounds)]
    return torch.cat(orders)[:wanted]


def _optimizer(network: nn.Module, profile: Profile) -> torch.optim.Optimizer:
    kind = {"sgd": torch.optim.SGD, "adamw": torch.optim.AdamW}[profile.optimizer]
    return kind(
        network.parameters(), profile.learning_rate, weight_decay=profile.weight_decay, fused=True
    )


def _schedule(
    optimizer: torch.optim.Optimizer, profile: Profile, batches: int, steps: int
) -> LRScheduler:
    """Stepped after each batch: Eq. 4 (x 0.99 after each epoch) or one cycle over the whole run."""
    if profile.schedule == "exponential":
        return LambdaLR(optimizer, lambda step: DECAY ** (step // batches))
    return OneCycleLR(optimizer, profile.learning_rate, total_steps=steps, pct_start=WARM_UP)
