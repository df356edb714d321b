"""From files to files: simulating, preprocessing and labelling volumes, and nnU-Net at the same."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from spineseg.benchmark.networks import OURS, equal_width
from spineseg.benchmark.timing import time_interleaved
from spineseg.data.layouts import Case, read_labelled
from spineseg.data.preprocess import classes_to_grid, image_to_grid, prepare
from spineseg.evaluation.evaluate import held_out
from spineseg.experiment import Experiment
from spineseg.labels import NUM_CLASSES
from spineseg.methods import NNUNET, TABLE3, nnunet_is_installed
from spineseg.models import MODELS
from spineseg.models.plain import plain
from spineseg.phantom import write_dataset
from spineseg.profiles import load_profile
from spineseg.runs import is_finished, run_facts
from spineseg.training.device import make_fabric
from spineseg.training.loop import Training, load_network
from spineseg.training.transforms import standardise
from spineseg.utils.files import read_json
from spineseg.utils.progress import progress_bar
from spineseg.workflow.predict import NetworkSegmenter, open_run, predict_scan

SCALES = {"small": 0.125, "paper's": 1.0}  # of Table 1's 880 pixels
SLICES = 12
CASES = {"small": 24, "paper's": 4}
ITERATIONS = 10
AGREEING_CASES = 6
NNUNET_AS_IT_COMES = "nnU-Net, as it comes"


@contextmanager
def workspace() -> Iterator[Path]:
    """A folder for data, cache and runs that is gone afterwards."""
    before = os.environ.get("SPINESEG_ROOT")
    with TemporaryDirectory() as folder:
        os.environ["SPINESEG_ROOT"] = folder
        try:
            yield Path(folder)
        finally:
            os.environ.pop("SPINESEG_ROOT")
            if before is not None:
                os.environ["SPINESEG_ROOT"] = before


def simulation(size: str) -> list[dict[str, Any]]:
    """Seconds a simulated scan with its mask, written."""

    def simulate(folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        write_dataset(folder, CASES[size], SCALES[size], progress=False)

    with workspace() as root:
        found = time_interleaved({OURS: lambda: simulate(root / "phantom")}, budget=15, rounds=3)
    return _rows("simulating a scan", size, found, per=CASES[size])


def preprocessing(size: str) -> list[dict[str, Any]]:
    """Seconds a volume, one thread, from its files to what is trained on; then nnU-Net's.

    nnU-Net plans for the same volumes in 2d and writes nothing here either.
    """
    with workspace() as root:
        write_dataset(root / "scans", CASES[size], SCALES[size], progress=False)
        experiment = Experiment(root / "scans", load_profile("quick"))
        cases = experiment.cases()
        pixels = max(read_labelled(case)[0].GetSize()[0] for case in cases)

        def ours() -> None:
            for case in cases:
                image, classes = read_labelled(case)
                image_to_grid(image, SLICES, pixels)
                classes_to_grid(classes, image, SLICES, pixels)

        contenders: dict[str, Callable] = {OURS: ours}
        if nnunet_is_installed():
            contenders[NNUNET_AS_IT_COMES] = _nnunet_preprocessing(cases, root)
        return _rows(
            "preprocessing", size, time_interleaved(contenders, 30, rounds=5), per=CASES[size]
        )


def _nnunet_preprocessing(cases: list[Case], folder: Path) -> Callable[[], None]:
    """A call that preprocesses all cases as nnU-Net planned it for them in 2d."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from spineseg.nnunet.adapter import adapter as nnunet

    raw = folder / nnunet.WORK / "raw" / nnunet.DATASET
    for case in cases:
        for kind, file, ending in (("images", case.image, "_0000"), ("labels", case.mask, "")):
            copy = raw / f"{kind}Tr" / f"{case.id}{ending}.nii.gz"
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(str(file), copy)
    nnunet.write_list(raw, [case.id for case in cases])
    preprocessed = folder / nnunet.WORK / "preprocessed" / nnunet.DATASET
    preprocessed.mkdir(parents=True)
    with nnunet.nnunet_folders(folder):
        extractor = nnunet.DatasetFingerprintExtractor(nnunet.DATASET, num_processes=1)
        extractor.show_progress_bar = False
        extractor.run()
        nnunet.ExperimentPlanner(nnunet.DATASET, suppress_transpose=True).plan_experiment()
    plans = PlansManager(read_json(preprocessed / f"{nnunet.PLANS_NAME}.json"))
    configuration = plans.get_configuration(nnunet.CONFIGURATION)
    dataset = read_json(raw / nnunet.DATASET_JSON)
    preprocessor = nnunet.DefaultPreprocessor(verbose=False)

    def preprocess() -> None:
        for case in cases:
            files = [str(case.image)], str(case.mask)
            preprocessor.run_case(*files, plans, configuration, dataset)

    return preprocess


def iteration() -> list[dict[str, Any]]:
    """Seconds a training iteration, batch drawn and varied: our U-Net-2D and nnU-Net's trainer.

    Both see the same cropped slices in batches as large as nnU-Net plans; ours is as wide as makes
    its arithmetic nearest to that of nnU-Net's network. What still differs is taken out of `ratio`.
    """
    with workspace() as root:
        write_dataset(root / "scans", CASES["small"], SCALES["small"], progress=False)
        experiment = Experiment(root / "scans", load_profile("quick"))
        cache = prepare(experiment)
        facts = run_facts(experiment, cache, "unet", 0, epochs=1000)
        first, last = cache.grid(0).columns
        pixels = cache.grid(0).size, last - first
        if not nnunet_is_installed():
            return []
        with _nnunet_iterations(experiment, root / NNUNET) as (work, batch, network, patch):
            width, ours, theirs = equal_width((batch, 1, *pixels), network, (batch, 1, *patch))
            knobs = {"width": width, "batch_size": batch, "slices_per_epoch": ITERATIONS * batch}
            training = Training(facts, cache, replace(experiment.profile, **knobs), make_fabric())
            hidden = progress_bar(shown=False)
            contenders = {
                OURS: lambda: training._train_epoch(0, hidden),
                NNUNET_AS_IT_COMES: work,
            }
            found = time_interleaved(contenders, 40, rounds=8)
    rows = _rows("training iteration", "small", found, per=ITERATIONS)
    for row, gflops in zip(rows, (ours, theirs), strict=True):
        row |= {key: row[key] * ours / gflops for key in row if key.startswith("ratio")}
        row |= {"gflops": gflops, "gflops_per_s": gflops / row["seconds"], "batch": batch}
        row |= {"rows": pixels[0], "columns": pixels[1]}
    rows[0]["width"] = width
    return rows


@contextmanager
def _nnunet_iterations(experiment: Experiment, folder: Path) -> Iterator[tuple]:
    """A call that does ITERATIONS of nnU-Net's trainer; its batch, network and patch."""
    from spineseg.nnunet.adapter import adapter as nnunet

    cache = prepare(experiment)
    facts = run_facts(experiment, cache, NNUNET, 0, 1)
    folder.mkdir()
    nnunet.plan(experiment, cache, facts, folder)
    settings = {"nnUNet_n_proc_DA": "0", "nnUNet_compile": "false"}
    with nnunet.nnunet_folders(folder, **settings) as work:
        trainer = nnunet.build_trainer(work, folder, facts)
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


def labelling(experiment: Experiment) -> list[dict[str, Any]]:
    """Seconds a whole volume, scan file in to mask file out, by the finished runs of an experiment.

    By ASPP-UNet and nnU-Net in this process, the run opened each time, and by the command.
    """
    if not is_finished(run := experiment.run("aspp_unet", 0)):
        return []
    case = experiment.cases()[0]
    with TemporaryDirectory() as folder:
        mask = Path(folder) / "mask.nii.gz"
        arguments = "predict", str(case.image), str(mask), "--run", str(run)
        contenders: dict[str, Callable] = {
            OURS: lambda: predict_scan(case.image, mask, run),
            "ours, the command from its start": lambda: subprocess.run(
                [sys.executable, "-m", "spineseg.cli", *arguments], check=True, capture_output=True
            ),
        }
        theirs = experiment.run(NNUNET, 0)
        if nnunet_is_installed() and is_finished(theirs):
            contenders[NNUNET_AS_IT_COMES] = lambda: predict_scan(case.image, mask, theirs)
        found = time_interleaved(contenders, budget=40)
    return _rows("scan to mask", "small", found)


def agreement(experiment: Experiment, model: str) -> list[dict[str, Any]]:
    """The share of pixels that a finished run labels as its plain version does."""
    if not is_finished(run := experiment.run(model, 0)):
        return []
    segmenter = open_run(run)
    assert isinstance(segmenter, NetworkSegmenter)
    network = plain(load_network(run)[0])
    equal = []
    for case in held_out(segmenter.facts, run)[0][:AGREEING_CASES]:
        gray = segmenter.gray(read_labelled(case)[0])
        slices = torch.from_numpy(gray)
        volumetric = MODELS[model].volumetric
        with torch.inference_mode():
            logits = network(standardise(slices[None] if volumetric else slices).contiguous())
        expected = logits.argmax(1).numpy().reshape(gray.shape)
        equal.append((segmenter.probabilities(gray).argmax(-1) == expected).mean())
    row = {"part": "labels equal to the plain version's", "size": "small", "what": model}
    return [{**row, "version": OURS, "rounds": len(equal), "agreement": float(np.mean(equal))}]


def _rows(
    part: str, size: str, found: dict[str, dict[str, float]], per: int = 1
) -> list[dict[str, Any]]:
    """A row a contender; its seconds are those of one of so many."""
    return [
        {
            "part": part,
            "size": size,
            "version": version,
            **{key: value / per if "seconds" in key else value for key, value in numbers.items()},
        }
        for version, numbers in found.items()
    ]


def measurements(experiment: Experiment) -> Iterator[tuple[Callable, tuple]]:
    """Each function of this module that measures, with its arguments."""
    for size in SCALES:
        yield simulation, (size,)
    for size in SCALES:
        yield preprocessing, (size,)
    yield iteration, ()
    yield labelling, (experiment,)
    for model in TABLE3:
        if model != NNUNET:
            yield agreement, (experiment, model)
