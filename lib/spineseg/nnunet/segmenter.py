"""The segmenter of a finished run of nnU-Net."""

from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np

from spineseg.inference.segmenter import Segmenter
from spineseg.nnunet.package import (
    CONFIGURATION,
    DATASET_JSON,
    PLANS,
    PlansManager,
    nnUNetPredictor,
    nnUNetTrainer,
)
from spineseg.runs import load_record, retrain_remedy
from spineseg.training.checkpoint import load_checkpoint
from spineseg.training.device import make_fabric
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json

PLANNED_NAMES = {
    *("DefaultPreprocessor", "LabelManager", "ZScoreNormalization", "nnUNetPlans_2d"),
    *("resample_data_or_seg_to_shape", "conv_op", "norm_op", "dropout_op", "nonlin"),
    "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "torch.nn.modules.conv.Conv2d",
    "torch.nn.modules.instancenorm.InstanceNorm2d",
    "torch.nn.LeakyReLU",
}


class NnunetSegmenter(Segmenter):
    """nnU-Net's own predictor: tiles that overlap by half, mirrored if they were in training."""

    def __init__(self, run: Path, gpu: int = 0):
        self.record = load_record(run)
        plans = PlansManager(read_plans(run))
        dataset = read_json(run / DATASET_JSON, ("labels",), retrain_remedy(run))
        self.spacing = plans.original_median_spacing_after_transp
        configuration = plans.get_configuration(CONFIGURATION)
        classes = plans.get_label_manager(dataset).num_segmentation_heads
        network = nnUNetTrainer.build_network_architecture(plans, configuration, 1, classes, False)
        with redirect_stdout(None):
            device = make_fabric(precision="32-true", gpu=gpu).device
            self.predictor = nnUNetPredictor(device=device, allow_tqdm=False)
        saved = load_checkpoint(run, ("network", "mirror_axes"))
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


def read_plans(run: Path) -> dict[str, Any]:
    """The plans of a finished run.

    nnU-Net imports and calls whatever plans name. Raises UserError if they name anything that its
    own planner does not.
    """
    path = run / PLANS
    plans = read_json(path, ("configurations", "label_manager"), retrain_remedy(run))
    try:
        used = [plans["configurations"][CONFIGURATION], plans["label_manager"]]
    except (LookupError, TypeError):
        raise UserError.at(path, f"damaged: lacks {CONFIGURATION}", retrain_remedy(run)) from None
    if unknown := set(_strings(used)) - PLANNED_NAMES:
        what = f"names {ascii(min(unknown))[:80]}, which nnU-Net's planner does not"
        raise UserError.at(path, what, retrain_remedy(run))
    return plans


def _strings(value: Any) -> Iterator[str]:
    """Every string in a JSON value, except the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _strings(part)
