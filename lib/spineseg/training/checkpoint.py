"""Checkpoints: plain weights, and what is needed to resume a run."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from torch import nn

from spineseg.models import build_model
from spineseg.runs import FINISHED, RunRecord, is_finished, load_record, retrain_remedy
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(folder: Path, record: RunRecord, **content: Any) -> None:
    """Write the record and the content (tensors and plain values) atomically."""
    with atomic_write(folder / CHECKPOINT) as temporary:
        torch.save({"record": record.what_to_train(), **content}, temporary)


def load_checkpoint(folder: Path, keys: Sequence[str] = ("network",)) -> dict[str, Any]:
    """The checkpoint of a run; `record` is a RunRecord, the rest are tensors and plain values.

    Nothing is unpickled that could run code. Raises UserError if there is no checkpoint, if it
    cannot be read, or if it lacks one of `keys`.
    """
    path, remedy = folder / CHECKPOINT, retrain_remedy(folder)
    try:
        with ZipFile(path) as parts:  # torch.load does not verify the zip checksums
            if damaged := parts.testzip():
                raise ValueError(damaged)
        with warnings.catch_warnings(action="ignore"):
            saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError.at(path, "no checkpoint", remedy) from None
    except Exception:  # torch's message may suggest weights_only=False; do not pass it on
        what = "not a readable checkpoint (damaged, or more than tensors and plain values)"
        raise UserError.at(path, what, remedy) from None
    try:
        missing = {"record", *keys} - saved.keys()
        record = RunRecord.from_json({"device": "", **saved["record"]})
    except (AttributeError, LookupError, TypeError, ValueError):
        raise UserError.at(path, "not the checkpoint of a run", remedy) from None
    if missing:
        raise UserError.at(path, f"lacks {', '.join(sorted(missing))}", remedy)
    return saved | {"record": record}


def load_state(part: Any, saved: dict[str, Any], folder: Path, name: str = "network") -> None:
    """Put the state `name` of a checkpoint into a network, optimizer or schedule."""
    try:
        part.load_state_dict(saved[name])
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        what = f"does not fit this run ({name}: {str(error).splitlines()[-1].strip()})"
        raise UserError.at(folder / CHECKPOINT, what, retrain_remedy(folder)) from None


def load_network(folder: Path) -> tuple[nn.Module, RunRecord]:
    """The trained plain network of a run in evaluation mode, and the run's record."""
    saved = load_checkpoint(folder)
    record = saved["record"]
    if is_finished(folder):
        finished = load_record(folder)
        if record.differences(finished):
            what = f"of another run than {FINISHED}"
            raise UserError.at(folder / CHECKPOINT, what, retrain_remedy(folder))
        record = finished
    network = build_model(record.model, record.profile.width)
    load_state(network, saved, folder)
    return network.eval(), record
