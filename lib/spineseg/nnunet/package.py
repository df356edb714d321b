"""All that is imported from the package nnunetv2, and the folders that it takes."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

from spineseg.methods import INSTALL_NNUNET
from spineseg.utils.errors import UserError

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
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
except ModuleNotFoundError as error:
    raise UserError.at("nnU-Net", str(error), f"`{INSTALL_NNUNET}` installs it") from None

__all__ = [
    "CONFIGURATION",
    "DATASET",
    "DATASET_JSON",
    "PLANS",
    "PLANS_NAME",
    "WORK",
    "DatasetFingerprintExtractor",
    "DefaultPreprocessor",
    "ExperimentPlanner",
    "PlansManager",
    "generate_dataset_json",
    "maybe_load_checkpoint",
    "nnUNetPredictor",
    "nnUNetTrainer",
    "nnunet_folders",
]

CONFIGURATION = "2d"
DATASET = "Dataset001_spine"
DATASET_JSON = "dataset.json"
PLANS = "plans.json"
PLANS_NAME = "nnUNetPlans"
PRINTS = "nnunet.log"
WORK = "nnunet"  # in the run's folder: everything that nnU-Net writes before the run is finished


@contextmanager
def nnunet_folders(folder: Path, **settings: str) -> Iterator[Path]:
    """Let nnU-Net's folders be in a run's folder, and its prints go to a file there.

    nnU-Net reads both from environment variables, which are restored afterwards.
    TORCH_FORCE_WEIGHTS_ONLY_LOAD overrides its `weights_only=False`: torch unpickles tensors and
    plain values only.
    """
    work = folder / WORK
    places = {f"nnUNet_{name}": str(work / name) for name in ("raw", "preprocessed", "results")}
    before = dict(os.environ)
    os.environ.update(places | settings | {"TORCH_FORCE_WEIGHTS_ONLY_LOAD": "1"})
    try:
        with (folder / PRINTS).open("a", encoding="utf-8") as prints, redirect_stdout(prints):
            yield work
    finally:
        os.environ.clear()
        os.environ.update(before)
