"""Score a run case by case on the scans' own grids, clean and with noise, in one pass."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from spineseg.evaluation.cases import ScoredCase
from spineseg.evaluation.metrics import confusion, overlaps
from spineseg.evaluation.noise import noisy
from spineseg.evaluation.result_files import (
    CONFUSION,
    EXAMPLES,
    NOISE,
    NOISE_EXAMPLE,
    SCORES,
)
from spineseg.evaluation.scores import OVERLAPS, identify, score_rows, surface_rows
from spineseg.inference.segmenter import Segmenter
from spineseg.labels import CLASSES, NUM_CLASSES
from spineseg.runs import RunRecord
from spineseg.utils.files import atomic_write, write_csv
from spineseg.utils.progress import progress_bar

Rows = list[dict[str, Any]]
CLEAN = 0  # the k of Eq. 5 without noise


@dataclass
class RunScores:
    """What the scoring of a run collects."""

    rows: Rows = field(default_factory=list)  # of scores.csv
    with_noise: list[tuple[str, int, Rows]] = field(default_factory=list)  # case, k, volume scores
    examples: dict[str, np.ndarray] = field(default_factory=dict)  # of examples.npz
    noise_example: dict[str, np.ndarray] = field(default_factory=dict)  # of noise.npz
    confused: np.ndarray = field(  # voxels of all cases by classes in truth and prediction
        default_factory=lambda: np.zeros((NUM_CLASSES, NUM_CLASSES), np.int64)
    )

    def classes_in_truth(self) -> list[str]:
        """The classes that the scored masks label."""
        return [CLASSES[index] for index in np.flatnonzero(self.confused.sum(1))]

    def confusion_table(self) -> pd.DataFrame:
        """One row per pair of classes: `truth`, `predicted`, `voxels`."""
        pairs = pd.MultiIndex.from_product([CLASSES, CLASSES], names=["truth", "predicted"])
        return pairs.to_frame(index=False).assign(voxels=self.confused.ravel())


def score_cases(
    segmenter: Segmenter,
    cases: Iterable[ScoredCase],
    count: int,
    levels: Sequence[int] = (CLEAN,),
) -> RunScores:
    """Score `count` cases at these noise levels. Each level is predicted once.

    Noise is added to the 8-bit slices that the network sees. It is the same for every run.
    """
    scores = RunScores()
    record = segmenter.record
    words = f"score {record.title}"
    for number, case in enumerate(progress_bar(cases, desc=words, total=count, unit="case")):
        for k in levels:
            gray = noisy(case.gray, k, f"{case.id} {k}") if k != CLEAN else case.gray
            probabilities = segmenter.probabilities(gray)
            _add_level(scores, case, k, case.to_scan_grid(probabilities))
            if number == 0:
                scores.noise_example |= _noise_slice(case, k, gray, probabilities)
    scores.rows += score_rows("all", "pooled", overlaps(scores.confused[None]))
    return scores


def _add_level(scores: RunScores, case: ScoredCase, k: int, predicted: np.ndarray) -> None:
    """Add the scores of one case at one noise level. Only the clean ones enter scores.csv."""
    confused = confusion(case.truth, predicted)
    counts = overlaps(confused)
    volume = score_rows(case.id, "volume", counts.sum(0, keepdims=True))
    scores.with_noise.append((case.id, k, volume))
    if k != CLEAN:
        return
    scores.rows += [*volume, *score_rows(case.id, "slice", counts)]
    if case.has_surfaces:
        scores.rows += surface_rows(case.id, _surface_scores(case, predicted))
    scores.confused += confused.sum(0)
    drawn = case.drawn(predicted)
    scores.examples |= {f"{case.id}_{part}": array for part, array in drawn.items()}


def _surface_scores(case: ScoredCase, predicted: np.ndarray) -> np.ndarray:
    from spineseg.evaluation.surface import surface_scores

    return surface_scores(case.truth, predicted, case.spacing)


def _noise_slice(
    case: ScoredCase, k: int, gray: np.ndarray, probabilities: np.ndarray
) -> dict[str, np.ndarray]:
    """The slice with the most labelled voxels on the grid that the network sees."""
    if case.on_grid is None:
        return {}
    mask, spacing = case.on_grid
    index = int((mask > 0).sum((1, 2)).argmax())
    return {
        "truth": mask[index],
        "spacing": np.array(spacing[1:]),  # row, column
        f"image_{k}": gray[index],
        f"predicted_{k}": probabilities[index].argmax(-1).astype(np.uint8),
    }


def write_scores(
    folder: Path, scores: RunScores, record: RunRecord, labelled: Sequence[str], data: str
) -> None:
    """Write scores.csv, confusion.csv, examples.npz and, if there are several noise levels,
    noise.csv and noise.npz.

    Classes that the data never label are left out: nobody can tell whether they were found.
    scores.csv is written last and marks the run as scored.
    """
    if len({k for _, k, _ in scores.with_noise}) > 1:
        table = pd.DataFrame(
            {"case": case, "k": k, **_mean_scores(rows, labelled)}
            for case, k, rows in scores.with_noise
        )
        write_csv(folder / NOISE.name, identify(table, record, data))
        _write_arrays(folder / NOISE_EXAMPLE, scores.noise_example)
    _write_arrays(folder / EXAMPLES, scores.examples)
    write_csv(folder / CONFUSION.name, identify(scores.confusion_table(), record, data))
    table = pd.DataFrame(row for row in scores.rows if row["class"] in labelled)
    write_csv(folder / SCORES.name, identify(table, record, data))


def _mean_scores(rows: Rows, labelled: Sequence[str]) -> dict[str, float]:
    """The means of DSC and IoU over the labelled classes of a volume, NaN if it has no scores."""
    scores = pd.DataFrame(rows, columns=["class", "metric", "value"]).query("`class` in @labelled")
    means = scores.groupby("metric")["value"].mean().reindex(list(OVERLAPS))
    return {str(metric): float(mean) for metric, mean in means.items()}


def _write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with atomic_write(path) as temporary:
        np.savez_compressed(temporary, **arrays)  # type: ignore[arg-type]
