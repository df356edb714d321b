"""Work from files to files: simulating, preprocessing and labelling volumes, beside nnU-Net."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from spineseg.benchmark.networks import OURS, equal_width, ratios_for_equal_work
from spineseg.benchmark.timing import time_interleaved
from spineseg.data.cache import Cache, Grid
from spineseg.data.layouts import Case, read_labelled
from spineseg.data.prepare import open_scans, prepare_scans
from spineseg.data.preprocess import classes_to_grid, image_to_grid, target_of
from spineseg.evaluation.cases import scan_cases
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.experiment import Experiment
from spineseg.labels import NUM_CLASSES
from spineseg.methods import METHODS, NNUNET, PROPOSED, TABLE3_METHODS, nnunet_is_installed
from spineseg.models.counting import SLICES
from spineseg.phantom import write_dataset
from spineseg.profiles import load_profile
from spineseg.runs import RunRecord, is_finished
from spineseg.training.checkpoint import load_network
from spineseg.training.device import describe_device, make_fabric
from spineseg.training.loop import Training
from spineseg.training.transforms import standardise
from spineseg.utils.files import read_json
from spineseg.utils.progress import progress_bar

PHANTOM_SCALES = {"small": 0.125, "paper's": 1.0}  # of the challenge's 880 pixels
CASES = {"small": 24, "paper's": 4}
ITERATIONS = 10
AGREEMENT_CASES = 6
NNUNET_AS_IT_COMES = "nnU-Net, as it comes"
PredictScan = Callable[[Path, Path, Path], Any]  # (scan file, mask file to write, run)


@contextmanager
def workspace() -> Iterator[Path]:
    """A temporary folder for data, cache and runs."""
    before = os.environ.get("SPINESEG_ROOT")
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ["SPINESEG_ROOT"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("SPINESEG_ROOT")
            if before is not None:
                os.environ["SPINESEG_ROOT"] = before


def simulation(size: str) -> list[dict[str, Any]]:
    """Seconds to simulate a scan with its mask and to write both."""

    def simulate(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        write_dataset(folder, CASES[size], PHANTOM_SCALES[size], progress=False)

    with workspace() as root:
        found = time_interleaved({OURS: lambda: simulate(root / "phantom")}, budget=15, rounds=3)
    return _rows("simulating a scan", size, found, per=CASES[size])


def _phantom_experiment(root: Path, size: str) -> Experiment:
    """A phantom of CASES[size] scans under the profile `laptop`."""
    write_dataset(root / "scans", CASES[size], PHANTOM_SCALES[size], progress=False)
    return Experiment(root / "scans", load_profile("laptop"))


def preprocessing(size: str) -> list[dict[str, Any]]:
    """Seconds per volume to read its files and preprocess it, in one thread; beside nnU-Net.

    Nothing is written. nnU-Net preprocesses the same volumes as it plans for them in 2d.
    """
    with workspace() as root:
        cases = open_scans(_phantom_experiment(root, size)).cases()
        pixels = max(read_labelled(case)[0].GetSize()[0] for case in cases)
        grid = Grid(SLICES, pixels, (0, pixels))

        def ours() -> None:
            for case in cases:
                image, classes = read_labelled(case)
                target = target_of(image, grid)
                image_to_grid(image, target)
                classes_to_grid(classes, image, target)

        contenders: dict[str, Callable] = {OURS: ours}
        if nnunet_is_installed():
            contenders[NNUNET_AS_IT_COMES] = _nnunet_preprocessing(cases, root)
        found = time_interleaved(contenders, budget=30, rounds=5)
    return _rows("preprocessing", size, found, per=CASES[size])


def _nnunet_preprocessing(cases: list[Case], folder: Path) -> Callable[[], None]:
    """A call in which nnU-Net preprocesses all cases as it planned for them in 2d."""
    from spineseg.nnunet import package, plan

    raw, preprocessed = (
        folder / package.WORK / name / package.DATASET for name in ("raw", "preprocessed")
    )
    for case in cases:
        for kind, file, ending in (("images", case.image, "_0000"), ("labels", case.mask, "")):
            copy = raw / f"{kind}Tr" / f"{case.id}{ending}.nii.gz"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file), copy)
    preprocessed.mkdir(parents=True)
    plan.write_dataset_json(raw, [case.id for case in cases])
    with package.nnunet_folders(folder):
        plan.plan_network()
    plans = package.PlansManager(read_json(preprocessed / f"{package.PLANS_NAME}.json"))
    configuration = plans.get_configuration(package.CONFIGURATION)
    dataset = read_json(raw / package.DATASET_JSON)
    preprocessor = package.DefaultPreprocessor(verbose=False)

    def preprocess() -> None:
        for case in cases:
            preprocessor.run_case([str(case.image)], str(case.mask), plans, configuration, dataset)

    return preprocess


def iteration() -> list[dict[str, Any]]:
    """Seconds per training iteration with its batch drawn and augmented, beside nnU-Net's trainer.

    Both see the same cropped slices, in batches of the size that nnU-Net plans. Ours is U-Net-2D at
    the width at which its arithmetic is nearest to that of nnU-Net's network. `ratio` is the time
    for equal work: the remaining difference in arithmetic is divided out.
    """
    if not nnunet_is_installed():
        return []
    with workspace() as root:
        experiment = _phantom_experiment(root, "small")
        cache = prepare_scans(experiment)
        grid = cache.grid(0)
        pixels = grid.size, len(range(*grid.columns))
        with _nnunet_iterations(experiment, cache, root / NNUNET) as (iterate, batch, peer, patch):
            shapes = (batch, 1, *pixels), (batch, 1, *patch)
            width, our_gflops, peer_gflops = equal_width(shapes[0], peer, shapes[1])
            fabric = make_fabric(width)
            training = _training(experiment, cache, width, batch, fabric)
            hidden = progress_bar(shown=False)
            contenders = {
                OURS: lambda: training._train_epoch(0, hidden),
                NNUNET_AS_IT_COMES: iterate,
            }
            found = time_interleaved(contenders, budget=40, rounds=8)
    rows = _rows("training iteration", "small", found, per=ITERATIONS)
    for row, gflops in zip(rows, (our_gflops, peer_gflops), strict=True):
        row |= ratios_for_equal_work(row, our_gflops / gflops)
        row |= {"gflops": gflops, "gflops_per_s": gflops / row["seconds"], "batch": batch}
        row |= {"rows": pixels[0], "columns": pixels[1], "device": describe_device(fabric)}
    rows[0]["width"] = width
    return rows


def _training(
    experiment: Experiment, cache: Cache, width: int, batch: int, fabric: Fabric
) -> Training:
    """A training run of U-Net-2D with ITERATIONS batches per epoch."""
    experiment = experiment.with_settings(
        width=width, batch_size=batch, slices_per_epoch=ITERATIONS * batch, epochs=1000
    )
    return Training(RunRecord.of(experiment, cache, "unet", 0), cache, fabric)


@contextmanager
def _nnunet_iterations(
    experiment: Experiment, cache: Cache, folder: Path
) -> Iterator[tuple[Callable[[], None], int, nn.Module, tuple[int, ...]]]:
    """A call that runs ITERATIONS of nnU-Net's trainer; its batch size, network and patch size.

    The network is on the meta device.
    """
    from spineseg.nnunet.package import nnunet_folders
    from spineseg.nnunet.plan import plan
    from spineseg.nnunet.trainer import build_trainer

    record = RunRecord.of(experiment.with_settings(nnunet_epochs=1), cache, NNUNET, 0)
    folder.mkdir()
    plan(cache, record, folder)
    fabric = make_fabric(precision="32-true")
    with nnunet_folders(folder, nnUNet_n_proc_DA="0", nnUNet_compile="false") as work:
        trainer = build_trainer(work, folder, record, fabric)
        trainer.bar = progress_bar(shown=False)
        trainer.on_train_start()
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()

        def iterate() -> None:
            for _ in range(ITERATIONS):
                trainer.train_step(next(trainer.dataloader_train))

        configuration = trainer.configuration_manager
        with torch.device("meta"):
            network = trainer.build_network_architecture(
                trainer.plans_manager, configuration, 1, NUM_CLASSES, False
            )
        yield iterate, configuration.batch_size, network, configuration.patch_size


def labelling(experiment: Experiment, predict_scan: PredictScan) -> list[dict[str, Any]]:
    """Seconds from a scan file to its mask file, by the finished runs of an experiment.

    The runs of ASPP-UNet and nnU-Net are opened and used in this process. The run of ASPP-UNet is
    also used by the command.
    """
    if not (run := _finished_run(experiment, PROPOSED)):
        return []
    scan = open_scans(experiment).cases()[0].image
    with TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.nii.gz"
        command = [sys.executable, "-m", "spineseg.cli", "predict", str(scan), str(mask)]
        command += ["--run", str(run)]
        contenders: dict[str, Callable] = {
            OURS: lambda: predict_scan(scan, mask, run),
            "ours, the command from its start": lambda: subprocess.run(
                command, check=True, capture_output=True
            ),
        }
        nnunet = _finished_run(experiment, NNUNET)
        if nnunet and nnunet_is_installed():
            contenders[NNUNET_AS_IT_COMES] = lambda: predict_scan(scan, mask, nnunet)
        found = time_interleaved(contenders, budget=40)
    device = describe_device(make_fabric(experiment.profile.width))
    return [{**row, "device": device} for row in _rows("scan to mask", "small", found)]


def _finished_run(experiment: Experiment, model: str) -> Path | None:
    """The finished run of a method's first fold on scan files, if there is one."""
    run = experiment.run(model, 0)
    return run if is_finished(run) and not experiment.is_simulated else None


def agreement(experiment: Experiment, model: str) -> list[dict[str, Any]]:
    """The share of pixels to which a finished run's fast network gives the plain network's class.

    The pixels are those of the first test cases, on the grid that the networks see.
    """
    if not (run := _finished_run(experiment, model)):
        return []
    segmenter = open_segmenter(run)
    plain, record = load_network(run)
    tested = [case for case in open_scans(experiment).cases() if case.id in record.test]
    equal = []
    for case in scan_cases(tested[:AGREEMENT_CASES], record.grid):
        slices = torch.from_numpy(case.gray)
        inputs = standardise(slices[None] if METHODS[model].volumetric else slices)
        with torch.inference_mode():
            expected = plain(inputs).argmax(1).numpy().reshape(case.gray.shape)
        equal.append((segmenter.probabilities(case.gray).argmax(-1) == expected).mean())
    return [
        {
            "device": describe_device(make_fabric(record.profile.width)),
            "part": "labels equal to the plain version's",
            "size": "small",
            "what": model,
            "version": OURS,
            "rounds": len(equal),
            "agreement": float(np.mean(equal)),
        }
    ]


def _rows(
    part: str, size: str, found: dict[str, dict[str, float]], per: int = 1
) -> list[dict[str, Any]]:
    """One row per contender, with its seconds per item of `per` items."""
    return [
        {
            "part": part,
            "size": size,
            "version": version,
            **{key: value / per if "seconds" in key else value for key, value in numbers.items()},
        }
        for version, numbers in found.items()
    ]


def measurements(
    experiment: Experiment, predict_scan: PredictScan
) -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    for size in PHANTOM_SCALES:
        yield simulation, (size,)
    for size in PHANTOM_SCALES:
        yield preprocessing, (size,)
    yield iteration, ()
    yield labelling, (experiment, predict_scan)
    for model in TABLE3_METHODS:
        if model != NNUNET:
            yield agreement, (experiment, model)
