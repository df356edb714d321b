"""Score finished runs."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from spineseg.data.cache import Cache
from spineseg.evaluation import provenance
from spineseg.evaluation.cases import scan_cases, simulated_cases
from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.result_files import COMPARISON, SCORES, SUMMARY
from spineseg.evaluation.score_run import CLEAN, RunScores, score_cases, write_scores
from spineseg.evaluation.scores import identify
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.evaluation.summary import summarise
from spineseg.experiment import Experiment
from spineseg.inference.segmenter import Segmenter
from spineseg.labels import FOREGROUND
from spineseg.methods import NOISE_METHODS
from spineseg.paper.tables import compare
from spineseg.runs import RunRecord, load_record
from spineseg.utils import paths
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import write_csv
from spineseg.workflow.prepare import prepare

T = TypeVar("T")


def is_scored(run: Path) -> bool:
    """Whether a run is scored: scores.csv is the last file that scoring writes."""
    return (run / SCORES.name).is_file()


def score_run(run: Path) -> Path:
    """Score a finished run on its test cases and return its folder.

    Writes scores.csv and examples.npz (one slice per case) and, for methods of the noise test,
    noise.csv and noise.npz into the folder. Raises UserError for an unfinished run, for one that
    tests on no case, and if the scans changed since it was trained.
    """
    from spineseg.training.device import claim_gpu

    record = _tested(run)
    cache = prepare(record.as_experiment)
    _require_own_scans(run, cache)
    labelled = cache.index["classes"]
    if not set(labelled) & set(FOREGROUND):
        raise _nothing_labelled(Path(record.data))
    _say_unlabelled(labelled)
    levels = LEVELS if record.model in NOISE_METHODS else (CLEAN,)
    with claim_gpu() as gpu:
        scores = _on_test_cases(open_segmenter(run, gpu or 0), cache, levels)
    write_scores(run, scores, record, labelled, record.data_name)
    return run


def score_cleaned_up(runs: Sequence[Path]) -> Path:
    """Score finished runs of one experiment on their test cases, with levels repaired.

    Levels that cannot be are repaired as `predict` does. Writes scores.csv (of volumes),
    summary.csv, provenance.json and, if ASPP-UNet and another method are there, comparison.csv into
    results/<experiment>-cleaned-up/ and returns that folder. Raises UserError for runs of several
    experiments and as `score_run`.
    """
    from spineseg.training.device import claim_gpu

    runs = list(dict.fromkeys(runs))
    records = _of_each(runs, _tested)
    experiment = _only_experiment(records)
    cache = prepare(experiment)
    _of_each(runs, partial(_require_own_scans, cache=cache))
    with claim_gpu() as gpu:
        tables = [
            _volumes(_on_test_cases(segmenter, cache, clean_up=True), segmenter.record, cache)
            for segmenter in _of_each(runs, partial(open_segmenter, gpu=gpu or 0))
        ]
    scores = pd.concat(tables, ignore_index=True)
    folder = experiment.results_cleaned_up
    devices = provenance.device_names(record.device for record in records)
    if len(compared := compare(scores)):
        write_csv(folder / COMPARISON.name, experiment.stamp(compared, devices))
    write_csv(folder / SUMMARY.name, summarise(scores))
    write_csv(folder / SCORES.name, scores)
    provenance.record(folder, provenance.origin_of(experiment, records), devices)
    return folder


def score_on(run: Path, data: Path, clean_up: bool = False) -> Path:
    """Score a finished run on every case of another data folder.

    Writes scores.csv, summary.csv, examples.npz and provenance.json into
    results/<experiment>-on-<data>/ and returns that folder. With `clean_up`, levels that cannot be
    are repaired first, as `predict` does, and the folder's name ends in -cleaned-up. Classes that
    the data never label are not scored. Raises UserError for an unfinished run and for bad scans.
    """
    from spineseg.data.check import require_valid
    from spineseg.data.prepare import files_hash, scan_files
    from spineseg.training.device import claim_gpu

    record = load_record(run)
    cases = require_valid(data, progress=True)
    with claim_gpu() as gpu:
        segmenter = open_segmenter(run, gpu or 0)
        scored = scan_cases(cases, record.grid, clean_up=clean_up)
        scores = score_cases(segmenter, scored, len(cases))
    labelled = scores.classes_in_truth()
    if not set(labelled) & set(FOREGROUND):
        raise _nothing_labelled(data)
    _say_unlabelled(labelled)
    name = paths.dataset_name(data)
    folder = record.as_experiment.results_on(name, clean_up)
    write_scores(folder, scores, record, labelled, name)
    write_csv(folder / SUMMARY.name, summarise(SCORES.read(folder)))
    experiment = Experiment(paths.dataset_folder(data), record.profile)
    origin = provenance.origin(experiment, files_hash(scan_files(experiment)), record.split_hash)
    provenance.record(folder, origin, record.device)
    return folder


def _tested(run: Path) -> RunRecord:
    """The record of a run that has test cases."""
    record = load_record(run)
    if not record.test:
        raise UserError.at(
            run, "trained on every case, so none is held out", "score it with --data"
        )
    return record


def _only_experiment(records: Sequence[RunRecord]) -> Experiment:
    names = {record.experiment for record in records}
    if len(names) > 1:
        what = f"are of {len(names)} experiments: {', '.join(sorted(names))}"
        raise UserError.at("these runs", what, "give those of one")
    return records[0].as_experiment


def _of_each(runs: Sequence[Path], make: Callable[[Path], T]) -> list[T]:
    """What `make` returns for each run. Raises UserError that lists the problems of all runs."""
    made: list[T] = []
    problems: list[Problem] = []
    for run in runs:
        try:
            made.append(make(run))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)
    return made


def _on_test_cases(
    segmenter: Segmenter, cache: Cache, levels: Sequence[int] = (CLEAN,), clean_up: bool = False
) -> RunScores:
    record = segmenter.record
    cases = _test_cases(record, cache, clean_up)
    return score_cases(segmenter, cases, len(record.test), levels)


def _volumes(scores: RunScores, record: RunRecord, cache: Cache) -> pd.DataFrame:
    """The scores of whole volumes in the labelled classes."""
    rows = pd.DataFrame(scores.rows)
    labelled = rows["class"].isin(cache.index["classes"])
    return identify(rows[labelled & (rows["aggregation"] == "volume")], record)


def _require_own_scans(run: Path, cache: Cache) -> None:
    """Raise UserError if a run was trained on other scans than those of the cache."""
    record = load_record(run)
    if cache.index["key"] != record.data_key:
        what = f"the scans changed since {run} was trained"
        raise UserError.at(record.as_experiment.data, what, "remove that folder")


def _test_cases(record: RunRecord, cache: Cache, clean_up: bool):
    experiment = record.as_experiment
    if experiment.is_simulated:
        return simulated_cases(cache, record, clean_up)
    from spineseg.data.prepare import open_scans

    cases = {case.id: case for case in open_scans(experiment).cases()}
    return scan_cases([cases[case] for case in record.test], record.grid, cache, clean_up)


def _nothing_labelled(data: Path) -> UserError:
    what = "its masks label none of the classes, so there is nothing to score"
    return UserError.at(data, what, "give a folder with labelled vertebrae")


def _say_unlabelled(labelled: list[str]) -> None:
    if missing := [name for name in FOREGROUND if name not in labelled]:
        print(f"not labelled in this data, not scored: {', '.join(missing)}", file=sys.stderr)
