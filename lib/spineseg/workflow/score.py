"""Score finished runs."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from spineseg.data.cache import Cache
from spineseg.evaluation import provenance
from spineseg.evaluation.cases import (
    ScoredCase,
    scan_cases,
    simulated_cases,
    with_repaired_levels,
)
from spineseg.evaluation.noise import LEVELS
from spineseg.evaluation.result_files import COMPARISON, PROVENANCE, SCORES, SUMMARY
from spineseg.evaluation.score_run import CLEAN, RunScores, score_cases, write_scores
from spineseg.evaluation.scores import identify
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.evaluation.summary import common_runs, summarise
from spineseg.experiment import Experiment
from spineseg.inference.segmenter import Segmenter
from spineseg.labels import FOREGROUND
from spineseg.methods import NOISE_METHODS
from spineseg.paper.tables import compare, devices
from spineseg.profiles import load_profile
from spineseg.runs import RunRecord, load_record
from spineseg.utils import paths
from spineseg.utils.errors import Problem, UserError
from spineseg.utils.files import write_csv
from spineseg.utils.paths import PROFILES
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
    labelled = _labelled(cache, Path(record.data))
    levels = LEVELS if record.model in NOISE_METHODS else (CLEAN,)
    with claim_gpu() as gpu:
        scores = _on_test_cases(open_segmenter(run, gpu or 0), cache, levels)
    write_scores(run, scores, record, labelled, record.data_name)
    return run


def score_cleaned_up(runs: Sequence[Path]) -> Path:
    """Score finished runs of one experiment on their test cases, with levels repaired.

    Levels that cannot be are repaired as `predict` does. Replaces scores.csv (of volumes),
    summary.csv, provenance.json and, if ASPP-UNet and another method are there, comparison.csv in
    results/<experiment>-cleaned-up/ and returns that folder. Raises UserError for runs of several
    experiments, for methods without a fold and seed in common, and as `score_run`.
    """
    from spineseg.training.device import claim_gpu

    runs = list({run.resolve(): run for run in runs}.values())
    records = _of_each(runs, _tested)
    experiment = _only_experiment(records)
    _require_comparable(records)
    cache = prepare(experiment)
    _of_each(runs, partial(_require_own_scans, cache=cache))
    labelled = _labelled(cache, experiment.data)
    with claim_gpu() as gpu:
        tables = [
            _volumes(_on_test_cases(segmenter, cache, clean_up=True), segmenter.record, labelled)
            for segmenter in _of_each(runs, partial(open_segmenter, gpu=gpu or 0))
        ]
    return _write_cleaned_up(experiment, records, pd.concat(tables, ignore_index=True))


def _write_cleaned_up(
    experiment: Experiment, records: Sequence[RunRecord], scores: pd.DataFrame
) -> Path:
    folder = experiment.results_cleaned_up
    summary, compared = summarise(scores), compare(scores)
    origin = provenance.origin_of(experiment, records)
    for name in (SCORES.name, SUMMARY.name, COMPARISON.name, PROVENANCE):
        (folder / name).unlink(missing_ok=True)  # no file of an earlier call is left
    if len(compared):
        compared = experiment.stamp(compared, devices(compared, summary))
        write_csv(folder / COMPARISON.name, compared)
    write_csv(folder / SUMMARY.name, summary)
    write_csv(folder / SCORES.name, scores)
    names = provenance.device_names(record.device for record in records)
    provenance.record(folder, origin, names)
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
        scored = scan_cases(cases, record.grid)
        if clean_up:
            scored = map(with_repaired_levels, scored)
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
    """The experiment of these runs, without the settings that were chosen for one method."""
    names = {record.experiment for record in records}
    if len(names) > 1:
        what = f"are of {len(names)} experiments: {', '.join(sorted(names))}"
        raise UserError.at("these runs", what, "give those of one")
    experiment = records[0].as_experiment
    if (PROFILES / f"{experiment.profile.name}.yaml").is_file():
        experiment = replace(experiment, profile=load_profile(experiment.profile.name))
    return experiment


def _require_comparable(records: Sequence[RunRecord]) -> None:
    """Raise UserError if a run is there twice or if the methods share no fold and seed."""
    runs = pd.DataFrame([(each.model, each.fold, each.seed) for each in records])
    runs.columns = ["model", "fold", "seed"]
    if runs.duplicated().any():
        twice = records[int(runs.duplicated().to_numpy().argmax())].title
        raise UserError.at("these runs", f"hold {twice} twice", "give each run once")
    try:
        common_runs(runs, runs["model"].unique())
    except ValueError as error:
        raise UserError.at("these runs", f"have {error}", "give runs of the same folds") from None


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
    cases = _test_cases(record, cache)
    if clean_up:
        cases = map(with_repaired_levels, cases)
    return score_cases(segmenter, cases, len(record.test), levels)


def _volumes(scores: RunScores, record: RunRecord, labelled: Sequence[str]) -> pd.DataFrame:
    """The scores of whole volumes in the labelled classes."""
    rows = pd.DataFrame(scores.rows)
    shown = rows["class"].isin(labelled) & (rows["aggregation"] == "volume")
    return identify(rows[shown], record)


def _labelled(cache: Cache, data: Path) -> list[str]:
    """The classes that the data label, which are scored; the others are said."""
    labelled = cache.index["classes"]
    if not set(labelled) & set(FOREGROUND):
        raise _nothing_labelled(data)
    _say_unlabelled(labelled)
    return labelled


def _require_own_scans(run: Path, cache: Cache) -> None:
    """Raise UserError if a run was trained on other scans than those of the cache."""
    record = load_record(run)
    if cache.index["key"] != record.data_key:
        what = f"the scans in {record.as_experiment.data} changed since it was trained"
        raise UserError.at(run, what, "remove this run's folder and train it again")


def _test_cases(record: RunRecord, cache: Cache) -> Iterator[ScoredCase]:
    experiment = record.as_experiment
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
