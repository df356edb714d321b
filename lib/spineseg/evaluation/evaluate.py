"""Score a run case by case on the scans' own grids."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk

from spineseg.data.cache import gray_range, to_gray
from spineseg.data.check import require_valid
from spineseg.data.layouts import Case, read_labelled
from spineseg.data.preprocess import prepare
from spineseg.evaluation.metrics import overlaps
from spineseg.evaluation.scores import SCORES, identify, score_rows, surface_rows
from spineseg.evaluation.surface import surface_scores
from spineseg.experiment import Experiment
from spineseg.labels import CLASSES, FOREGROUND, NUM_CLASSES
from spineseg.profiles import Profile
from spineseg.runs import RunError
from spineseg.utils import paths
from spineseg.utils.files import atomic_write, write_csv
from spineseg.utils.progress import progress_bar

EXAMPLES = "examples.npz"


def evaluate_run(run: Path, data: Path | None = None) -> Path:
    """Score a finished run on its held-out cases, or on every case of another data folder.

    Writes scores.csv (see `score_rows` and `surface_rows`) and examples.npz (of each case one
    slice: image, truth, predicted, spacing) into the run's folder or, for another data folder, into
    results/<experiment>-on-<data>/; returns that folder. Classes that the data label nowhere are not
    scored: nobody can tell whether they were found.
    Raises RunError for an unfinished run or one that holds nothing out, UserError for bad scans.
    """
    from spineseg.workflow.predict import open_run

    segmenter = open_run(run)
    facts = segmenter.facts
    labelled: list[str] | None = None
    if data is None:
        target, scored = run, Path(facts["data"])
        cases, labelled = held_out(facts, run)
    else:
        cases, scored = require_valid(data, progress=True), data
        target = paths.root() / "results" / f"{facts['experiment']}-on-{paths.dataset_name(data)}"
    rows: list[dict[str, Any]] = []
    examples: dict[str, np.ndarray] = {}
    pooled = np.zeros((1, NUM_CLASSES, 3), np.int64)
    words = f"score {facts['model']} fold {facts['fold']}"
    for case in progress_bar(cases, desc=words, unit="case"):
        image, truth = read_labelled(case)
        predicted = segmenter(image)
        counts = overlaps(truth, predicted)
        rows += score_rows(case.id, "volume", counts.sum(0, keepdims=True))
        rows += score_rows(case.id, "slice", counts)
        rows += surface_rows(case.id, surface_scores(truth, predicted, image.GetSpacing()[::-1]))
        pooled += counts.sum(0, keepdims=True)
        drawn = slice_to_draw(image, truth, predicted=predicted)
        examples |= {f"{case.id}_{key}": array for key, array in drawn.items()}
    rows += score_rows("all", "pooled", pooled)
    if labelled is None:
        labelled = [CLASSES[index] for index in np.flatnonzero(pooled[0, :, 0])]
    rows = [row for row in rows if row["class"] in labelled]
    if not rows:
        raise RunError(
            f"{scored}: its masks label none of the classes, so there is nothing to score"
        )
    if odd := sorted(set(FOREGROUND) - set(labelled), key=FOREGROUND.index):
        print(f"not labelled in this data, not scored: {', '.join(odd)}", file=sys.stderr)
    with atomic_write(target / EXAMPLES) as temporary:
        np.savez_compressed(temporary, **examples)  # type: ignore[arg-type]
    write_csv(target / SCORES, identify(pd.DataFrame(rows), run, paths.dataset_name(scored)))
    return target


def held_out(facts: dict[str, Any], run: Path) -> tuple[list[Case], list[str]]:
    """The cases that a run held out, and the classes that their data set labels."""
    if not facts["test"]:
        raise RunError(f"{run}: trained on every case, so none is held out; score it with --data")
    experiment = Experiment(Path(facts["data"]), Profile(**facts["profile"]))
    index = prepare(experiment).index
    if index["key"] != facts["data_key"]:
        raise RunError(
            f"{experiment.data}: the scans changed since {run} was trained; remove that folder"
        )
    cases = {case.id: case for case in experiment.cases()}
    return [cases[case] for case in facts["test"]], index["classes"]


def slice_to_draw(
    image: sitk.Image, truth: np.ndarray, **others: np.ndarray
) -> dict[str, np.ndarray]:
    """The slice with the most labelled voxels: image (gray), truth, others, spacing (mm)."""
    index = int((truth > 0).sum((1, 2)).argmax())
    intensities = sitk.GetArrayViewFromImage(image)
    return {
        "image": to_gray(intensities[index], *gray_range(intensities)),
        "truth": truth[index],
        **{name: classes[index] for name, classes in others.items()},
        "spacing": np.array(image.GetSpacing()[1::-1]),  # row, column
    }
