"""Score finished runs."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from spineseg.data.cache import Cache
from spineseg.evaluation import provenance
from spineseg.evaluation.cases import (
    ScoredCase,
    scan_cases,
    simulated_cases,
    with_repaired_levels,
)
from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.result_files import SCORES, SUMMARY
from spineseg.evaluation.score_run import CLEAN, RunScores, score_cases, write_scores
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.evaluation.summary import summarise
from spineseg.experiment import Experiment
from spineseg.inference.segmenter import Segmenter
from spineseg.labels import FOREGROUND
from spineseg.methods import NOISE_METHODS
from spineseg.runs import RunRecord, load_record
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.workflow.prepare import prepare


def is_scored(run: Path) -> bool:
    """Whether a run is scored: scores.csv is the last file that scoring writes."""
    return (run / SCORES.name).is_file()


def score_run(run: Path, experiment: Experiment | None = None) -> Path:
    """Score a finished run on its test cases and return its folder.

    `experiment` tells where its scans are now; without it, they are where they were at training.
    Writes scores.csv, confusion.csv and examples.npz (one slice per case) and, for methods of the
    noise test, noise.csv and noise.npz into the folder. Raises UserError for an unfinished run, for
    one that tests on no case, and if the scans changed since it was trained.
    """
    from spineseg.training.device import claim_gpu

    record = tested_record(run)
    experiment = experiment or record.as_experiment
    cache = prepare(experiment)
    require_own_scans(run, cache)
    labelled = labelled_classes(cache, experiment.data)
    levels = LEVELS if record.model in NOISE_METHODS else (CLEAN,)
    with claim_gpu() as gpu:
        scores = score_test_cases(open_segmenter(run, gpu or 0), cache, experiment, levels)
    write_scores(run, scores, record, labelled, record.data_name)
    return run


def score_on(run: Path, data: Path, clean_up: bool = False) -> Path:
    """Score a finished run on every case of another data folder.

    Writes scores.csv, confusion.csv, summary.csv, examples.npz and provenance.json into
    results/<experiment>-on-<data>/ and returns that folder. With `clean_up`, levels that cannot be
    are repaired first, as `predict` does, and the folder's name ends in -cleaned-up. Classes that
    the data never label are not scored. Raises UserError for an unfinished run, for bad scans, for
    scans that the run was trained on, and if the folder holds the scores of another run or of other
    scans.
    """
    from spineseg.data.check import require_valid
    from spineseg.data.prepare import files_hash, scan_files
    from spineseg.training.device import claim_gpu

    record = load_record(run)
    name = paths.dataset_name(data)
    folder = record.as_experiment.results_on(name, clean_up)
    _require_no_other(record, folder)
    cases = require_valid(data, progress=True)
    experiment = Experiment(paths.dataset_folder(data), record.profile)
    data_hash = files_hash(scan_files(experiment))
    _require_unseen(record, [case.image for case in cases], data, data_hash)
    if provenance.scored_scans(folder) - {data_hash}:
        what = f"holds the scores of other scans, also called {name}"
        raise UserError.at(folder, what, "move it, then retry")
    with claim_gpu() as gpu:
        segmenter = open_segmenter(run, gpu or 0)
        scored = scan_cases(cases, record.grid)
        if clean_up:
            scored = map(with_repaired_levels, scored)
        scores = score_cases(segmenter, scored, len(cases))
    labelled = scores.classes_in_truth()
    if not set(labelled) & set(FOREGROUND):
        raise _nothing_labelled(data)
    _say_unlabelled(labelled)
    write_scores(folder, scores, record, labelled, name)
    write_csv(folder / SUMMARY.name, summarise(SCORES.read(folder)))
    origin = provenance.origin(experiment, data_hash, record.split_hash)
    provenance.record(folder, origin, record.device)
    return folder


def _require_unseen(record: RunRecord, scans: Sequence[Path], data: Path, data_hash: str) -> None:
    """Raise UserError if a run was trained on some of these scans: on files of the same contents.

    If the folder that it was trained on is gone, this shows only for the same set of scans.
    """
    if data_hash == record.data_hash:
        seen = len(record.train)
    else:
        trained = {*map(_content, _trained_scans(record))}
        seen = len(trained & {*map(_content, scans)}) if trained else 0
    if seen:
        what = f"{seen} of its {len(scans)} scans are among those that the run was trained on"
        remedy = "give other scans, or leave out --data to score its test cases"
        raise UserError.at(data, what, remedy)


def _trained_scans(record: RunRecord) -> list[Path]:
    """The scans that a run was trained on; none if their folder is gone or was emptied."""
    from spineseg.data.layouts import open_labelled

    try:
        cases = open_labelled(Path(record.data)).cases()
    except UserError:
        return []
    return [case.image for case in cases if case.id in record.train]


def _content(scan: Path) -> bytes:
    return hashlib.sha256(scan.read_bytes()).digest()


def _require_no_other(record: RunRecord, folder: Path) -> None:
    """Raise UserError if a folder holds the scores of another run than this one."""
    own = {"model": record.model, "fold": str(record.fold), "seed": record.seed}
    for table in (SCORES, SUMMARY):  # of some runs, only the means came with the project
        if (folder / table.name).is_file():
            stored = table.read(folder).iloc[0]
            other = {name: stored[name] for name in own if name in stored}
            if other != {name: own[name] for name in other}:
                run = ", ".join(f"{name} {value}" for name, value in other.items())
                raise UserError.at(folder, f"holds the scores of {run}", "move it, then retry")


def tested_record(run: Path) -> RunRecord:
    """The record of a run that has test cases."""
    record = load_record(run)
    if not record.test:
        raise UserError.at(
            run, "trained on every case, so none is held out", "score it with --data"
        )
    return record


def score_test_cases(
    segmenter: Segmenter,
    cache: Cache,
    experiment: Experiment,
    levels: Sequence[int] = (CLEAN,),
    clean_up: bool = False,
) -> RunScores:
    """The scores of a run's test cases at noise levels; with `clean_up`, levels are repaired."""
    record = segmenter.record
    cases = _test_cases(record, cache, experiment)
    if clean_up:
        cases = map(with_repaired_levels, cases)
    return score_cases(segmenter, cases, len(record.test), levels)


def labelled_classes(cache: Cache, data: Path) -> list[str]:
    """The classes that the data label, which are scored; the others are said."""
    labelled = cache.index["classes"]
    if not set(labelled) & set(FOREGROUND):
        raise _nothing_labelled(data)
    _say_unlabelled(labelled)
    return labelled


def require_own_scans(run: Path, cache: Cache) -> None:
    """Raise UserError if a run was trained on other scans than those of the cache."""
    record = load_record(run)
    if cache.index["key"] != record.data_key:
        what = f"the scans in {record.as_experiment.data} changed since it was trained"
        raise UserError.at(run, what, "remove this run's folder and train it again")


def _test_cases(record: RunRecord, cache: Cache, experiment: Experiment) -> Iterator[ScoredCase]:
    if experiment.is_simulated:
        return simulated_cases(cache, record)
    from spineseg.data.prepare import open_scans

    cases = {case.id: case for case in open_scans(experiment).cases()}
    return scan_cases([cases[case] for case in record.test], record.grid, cache)


def _nothing_labelled(data: Path) -> UserError:
    what = "its masks label none of the classes, so there is nothing to score"
    return UserError.at(data, what, "give a folder with labelled vertebrae")


def _say_unlabelled(labelled: list[str]) -> None:
    if missing := [name for name in FOREGROUND if name not in labelled]:
        print(f"not labelled in this data, not scored: {', '.join(missing)}", file=sys.stderr)
