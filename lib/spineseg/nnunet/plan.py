"""Hand the cases to nnU-Net, let it plan and preprocess."""

import shutil
from collections.abc import Callable, Sequence
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
    PlansManager,
    generate_dataset_json,
    nnunet_folders,
)
from spineseg.nnunet.segmenter import read_plans
from spineseg.runs import RunRecord
from spineseg.utils.files import write_json
from spineseg.utils.progress import progress_bar


def plan(cache: Cache, record: RunRecord, folder: Path, start: Path | None = None) -> None:
    """Hand over all cases, plan on the training cases, preprocess all.

    With the run `start`, its plan is taken instead.

    An interrupted run repeats this: nnU-Net unpickles what it finds in its folders, so files from
    elsewhere could run code. Equal cases give an equal plan.
    """
    raw, preprocessed = (folder / WORK / name / DATASET for name in ("raw", "preprocessed"))
    for made in (raw, preprocessed):
        shutil.rmtree(made.parent, ignore_errors=True)
        made.mkdir(parents=True)
    train, test = list(record.train), list(record.test)
    taken = read_plans(start) if start else None
    spacing = (
        PlansManager(taken).original_median_spacing_after_transp
        if taken
        else np.median([cache.spacing(case) for case in train], axis=0).tolist()
    )

    def hand_over() -> None:
        _write_volumes(cache, record, raw, spacing)
        write_dataset_json(raw, train)

    def take_plan() -> None:
        extract_fingerprint()
        write_json(preprocessed / f"{PLANS_NAME}.json", taken)

    def preprocess() -> None:
        write_dataset_json(preprocessed, train + test)
        preprocessor = DefaultPreprocessor(verbose=False)
        preprocessor.show_progress_bar = False
        preprocessor.run(DATASET, CONFIGURATION, PLANS_NAME, num_processes=1)
        split = {"train": train, "val": test or train}
        write_json(preprocessed / "splits_final.json", [split])

    steps: tuple[Callable[[], None], ...] = (
        hand_over,
        take_plan if taken else plan_network,
        preprocess,
    )
    with nnunet_folders(folder):
        for step in progress_bar(steps, desc=f"plan {record.title}", unit="step"):
            step()


def plan_network() -> None:
    """Let nnU-Net plan for the cases in its folder of raw data."""
    extract_fingerprint()
    ExperimentPlanner(DATASET, suppress_transpose=True).plan_experiment()


def extract_fingerprint() -> None:
    """Let nnU-Net measure the cases in its folder of raw data."""
    extractor = DatasetFingerprintExtractor(DATASET, num_processes=1)
    extractor.show_progress_bar = False
    extractor.run()


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


def _write_volumes(cache: Cache, record: RunRecord, raw: Path, spacing: Sequence[float]) -> None:
    """Write every case's cropped slices and classes as NIfTI.

    All get the same spacing (slices, rows, columns), that of the plan, so that nnU-Net resamples
    none.
    """
    for folder, volumes, ending in (
        ("imagesTr", cache.images, "_0000.nii.gz"),
        ("labelsTr", cache.masks, ".nii.gz"),
    ):
        (raw / folder).mkdir()
        for case, volume in zip(cache.index["cases"], volumes, strict=True):
            image = sitk.GetImageFromArray(volume[..., record.grid.window])
            image.SetSpacing(spacing[::-1])
            sitk.WriteImage(image, raw / folder / f"{case}{ending}")
