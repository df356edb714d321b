"""Hand the cases to nnU-Net, let it plan and preprocess."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from spineseg.data.cache import Cache
from spineseg.labels import CLASSES
from spineseg.nnunet.package import (
    CONFIGURATION,
    DATASET,
    PLANS_NAME,
    WORK,
    DatasetFingerprintExtractor,
    DefaultPreprocessor,
    ExperimentPlanner,
    generate_dataset_json,
    nnunet_folders,
)
from spineseg.runs import RunRecord
from spineseg.utils.files import write_json
from spineseg.utils.progress import progress_bar


def plan(cache: Cache, record: RunRecord, folder: Path) -> None:
    """Hand over all cases, plan on the training cases, preprocess all.

    An interrupted run repeats this: nnU-Net unpickles what it finds in its folders, so files from
    elsewhere could run code. Equal cases give an equal plan.
    """
    raw, preprocessed = (folder / WORK / name / DATASET for name in ("raw", "preprocessed"))
    for made in (raw, preprocessed):
        shutil.rmtree(made.parent, ignore_errors=True)
        made.mkdir(parents=True)
    train, test = list(record.train), list(record.test)

    def hand_over() -> None:
        _write_volumes(cache, record, raw)
        write_dataset_json(raw, train)

    def preprocess() -> None:
        write_dataset_json(preprocessed, train + test)
        preprocessor = DefaultPreprocessor(verbose=False)
        preprocessor.show_progress_bar = False
        preprocessor.run(DATASET, CONFIGURATION, PLANS_NAME, num_processes=1)
        split = {"train": train, "val": test or train}
        write_json(preprocessed / "splits_final.json", [split])

    steps: tuple[Callable[[], None], ...] = (hand_over, plan_network, preprocess)
    with nnunet_folders(folder):
        for step in progress_bar(steps, desc=f"plan {record.title}", unit="step"):
            step()


def plan_network() -> None:
    """Let nnU-Net plan for the cases in its folder of raw data."""
    extractor = DatasetFingerprintExtractor(DATASET, num_processes=1)
    extractor.show_progress_bar = False
    extractor.run()
    ExperimentPlanner(DATASET, suppress_transpose=True).plan_experiment()


def write_dataset_json(folder: Path, cases: list[str]) -> None:
    """Write dataset.json, which tells nnU-Net which cases there are."""
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


def _write_volumes(cache: Cache, record: RunRecord, raw: Path) -> None:
    """Write every case's cropped slices and classes as NIfTI.

    All get the median spacing of the training cases, for which nnU-Net plans.
    """
    spacing = np.median([cache.spacing(case) for case in record.train], axis=0)
    for folder, volumes, ending in (
        ("imagesTr", cache.images, "_0000.nii.gz"),
        ("labelsTr", cache.masks, ".nii.gz"),
    ):
        (raw / folder).mkdir()
        for case, volume in zip(cache.index["cases"], volumes, strict=True):
            image = sitk.GetImageFromArray(volume[..., record.grid.window])
            image.SetSpacing(spacing[::-1].tolist())
            sitk.WriteImage(image, raw / folder / f"{case}{ending}")
