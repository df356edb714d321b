"""Score finished runs with levels repaired, as `predict` repairs them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pandas as pd

from spineseg.evaluation import provenance
from spineseg.evaluation.result_files import COMPARISON, PROVENANCE, SCORES, SUMMARY
from spineseg.evaluation.score_run import RunScores
from spineseg.evaluation.scores import identify
from spineseg.evaluation.segmenters import open_segmenter
from spineseg.evaluation.summary import common_runs, summarise
from spineseg.experiment import Experiment
from spineseg.paper.tables import compare, devices
from spineseg.profiles import load_profile
from spineseg.runs import RunRecord
from spineseg.utils.errors import UserError, of_each
from spineseg.utils.files import write_csv
from spineseg.utils.paths import PROFILES
from spineseg.workflow.prepare import prepare
from spineseg.workflow.score import (
    labelled_classes,
    require_own_scans,
    score_test_cases,
    tested_record,
)


def score_repaired(runs: Sequence[Path]) -> Path:
    """Score finished runs of one experiment on their test cases, with levels repaired.

    Levels that cannot be are repaired as `predict` does. Replaces scores.csv (of volumes),
    summary.csv, provenance.json and, if ASPP-UNet and another method are there, comparison.csv in
    results/<experiment>-cleaned-up/ and returns that folder. Raises UserError for runs of several
    experiments, for methods without a fold and seed in common, and as `score_run`.
    """
    from spineseg.training.device import claim_gpu

    runs = list({run.resolve(): run for run in runs}.values())
    records = of_each(runs, tested_record)
    experiment = _only_experiment(records)
    _require_comparable(records)
    cache = prepare(experiment)
    of_each(runs, partial(require_own_scans, cache=cache))
    labelled = labelled_classes(cache, experiment.data)
    repaired = partial(score_test_cases, cache=cache, experiment=experiment, clean_up=True)
    with claim_gpu() as gpu:
        tables = [
            _volumes(repaired(segmenter), segmenter.record, labelled)
            for segmenter in of_each(runs, partial(open_segmenter, gpu=gpu or 0))
        ]
    return _write_results(experiment, records, pd.concat(tables, ignore_index=True))


def _write_results(
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


def _volumes(scores: RunScores, record: RunRecord, labelled: Sequence[str]) -> pd.DataFrame:
    """The scores of whole volumes in the labelled classes."""
    rows = pd.DataFrame(scores.rows)
    shown = rows["class"].isin(labelled) & (rows["aggregation"] == "volume")
    return identify(rows[shown], record)
