"""Checkpoints: plain weights, and what is needed to resume a run.

A run that is handed on has its weights alone, in the safetensors format and half precision.
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from spineseg.models import build_model
from spineseg.runs import FINISHED, RunRecord, is_finished, load_record, retrain_remedy
from spineseg.utils.errors import UserError
from spineseg.utils.files import atomic_write

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "network.safetensors"


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
    if (folder / WEIGHTS).is_file():
        return _load_weights(folder)
    saved = load_checkpoint(folder)
    record = saved["record"]
    if is_finished(folder):
        finished = load_record(folder)
        if record.differences(finished):
            what = f"of another run than {FINISHED}"
            raise UserError.at(folder / CHECKPOINT, what, retrain_remedy(folder))
        record = finished
    network = build_model(record.model, record.profile.width, stages=record.profile.stages)
    load_state(network, saved, folder)
    return network.eval(), record


def save_weights(network: nn.Module, folder: Path) -> None:
    """Write the weights of a network atomically: kernels in half precision, the rest as it is."""
    state = {
        name: value.half() if value.ndim > 1 else value
        for name, value in network.state_dict().items()
    }
    with atomic_write(folder / WEIGHTS) as temporary:
        temporary.write_bytes(save({name: value.contiguous() for name, value in state.items()}))


def _load_weights(folder: Path) -> tuple[nn.Module, RunRecord]:
    path, record = folder / WEIGHTS, load_record(folder)
    try:
        state = load_file(path)
    except (SafetensorError, OSError):
        raise UserError.at(path, "damaged: not the weights of a network", "copy it again") from None
    network = build_model(record.model, record.profile.width, stages=record.profile.stages)
    load_state(network, {"network": _in_float32(state)}, folder)
    return network.eval(), record


def _in_float32(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: value.float() if value.is_floating_point() else value for name, value in state.items()
    }
