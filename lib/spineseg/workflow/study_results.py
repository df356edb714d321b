"""Carry out the study, and store what its runs give in results/."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from spineseg.evaluation.result_files import (
    CEILING,
    COST,
    LOSSES,
    RUNS,
    TRAINED_FIELDS,
    VALIDATION_SCORES,
    ResultTable,
)
from spineseg.experiment import PATIENTS, VALIDATION, Experiment
from spineseg.methods import MECHANISM_METHODS, NNUNET, nnunet_is_installed
from spineseg.runs import load_record
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.workflow import study
from spineseg.workflow.ceiling import write_ceiling
from spineseg.workflow.cost import write_cost
from spineseg.workflow.gather import (
    PLACES,
    Run,
    current_records,
    gather,
    record_origin,
    stored_runs,
)
from spineseg.workflow.prepare import prepare
from spineseg.workflow.study import SEEDS, Chain, Job, experiments
from spineseg.workflow.tables import write_tables

SEARCHED_FOR = ("learning_rate", "epochs", "nnunet_epochs")


def stored_beside(experiment: Experiment) -> list[Experiment]:
    """Beside the default experiment, the study's others of which results are stored."""
    default, *others = experiments()
    return [each for each in others if experiment == default and each.results.is_dir()]


def carry_out_study(workers: int, minutes: float) -> bool:
    """Carry out the study and, when it is complete, store its results.

    Returns whether it is complete. No epoch begins that would end after this number of minutes;
    another call resumes. Raises UserError for the runs that failed, when the others are done.
    """
    until = time.time() + 60 * minutes
    _simulate_phantom()
    for experiment in experiments():
        prepare(experiment)
    if failed := study.run_chains(study.chains(), workers, until):
        raise UserError(*failed)
    complete = all(_finished_part(chain)[1] for chain in study.chains())
    if complete:
        store_results()
    return complete


def _simulate_phantom() -> None:
    from spineseg.phantom import write_dataset

    write_dataset(paths.default_data(), PATIENTS)


def store_results() -> list[Path]:
    """Write results/ of each experiment from the runs that are finished; returns the folders.

    A chain continues past runs whose folders are missing if results/ holds them.
    """
    stored = {job.folder for each in experiments() for job in _stored_jobs(each)}
    parts = (_finished_part(chain, stored)[0] for chain in study.chains())
    jobs = list(dict.fromkeys(job for part in parts for job in part))
    return [folder for each in experiments() if (folder := _store(each, jobs))]


def _finished_part(chain: Chain, stored: Collection[Path] = ()) -> tuple[list[Job], bool]:
    """The finished jobs of a chain up to its first unfinished step, and whether there is none.

    Jobs with a folder in `stored` do not end it. What the chain chooses goes into
    profiles/tuned.csv.
    """
    jobs: list[Job] = []
    for step in chain:
        done = [job for job in step if job.is_done]
        jobs += done
        if not all(job in done or job.folder in stored for job in step):
            return jobs, False
    return jobs, True


def _store(experiment: Experiment, jobs: Sequence[Job]) -> Path | None:
    """Write the results of one experiment; None if none of its runs and trials is finished.

    Stored runs that are not here stay in the results.
    """
    own = [job for job in jobs if job.experiment == experiment]
    here = {job.folder for job in own}
    kept = [run for run in stored_runs(experiment) if experiment.run(*run) not in here]
    models = {job.model for job in own} | {run.model for run in kept}
    trials = [job for job in jobs if job.model in models and _is_trial(job, experiment)]
    if not (own or trials):
        return None
    if own:
        gather(experiment, [Run(job.model, job.fold, job.seed) for job in own], kept)
    else:
        current_records(experiment, kept)  # stored trials have no code of their own
    if trials:
        table = pd.concat(map(_scores_of_trial, trials), ignore_index=True)
        keys = ["model", "epochs", "learning_rate", "seed", "device"]
        _write_beside_kept(experiment, VALIDATION_SCORES, table, keys)
    if experiment == experiments()[0]:  # the only one with all methods of Table 3
        for made, write in ((COST, write_cost), (CEILING, write_ceiling)):
            if not (experiment.results / made.name).is_file():
                write(experiment)
    if first := [
        job.folder for job in own if job.model in MECHANISM_METHODS and job.seed == SEEDS[0]
    ]:
        from spineseg.workflow.trained_fields import trained_fields  # imports torch

        table = experiment.stamp(trained_fields(first))
        _write_beside_kept(experiment, TRAINED_FIELDS, table, ["model"])
    write_tables(experiment)
    record_origin(experiment)
    return experiment.results


def _write_beside_kept(
    experiment: Experiment, table: ResultTable, rows: pd.DataFrame, keys: list[str]
) -> None:
    """Write these rows and the stored ones with other values in the columns `keys`, in order."""
    if (experiment.results / table.name).is_file():
        stored = table.read(experiment.results)
        again = pd.MultiIndex.from_frame(stored[keys]).isin(pd.MultiIndex.from_frame(rows[keys]))
        rows = pd.concat([stored[~again], rows])
        rows = rows.sort_values(
            keys,
            key=lambda column: column.map(PLACES) if column.name == "model" else column,
            kind="stable",
        )
    write_csv(experiment.results / table.name, rows)


def _is_trial(job: Job, experiment: Experiment) -> bool:
    """Whether a run tried settings for the profile of this experiment."""
    profile = experiment.profile
    same = {name: getattr(profile, name) for name in ("name", *SEARCHED_FOR)}
    return job.fold == VALIDATION and replace(job.experiment.profile, **same) == profile


def _scores_of_trial(job: Job) -> pd.DataFrame:
    """The mean DSC of each validation patient, per cent, with the settings of the run."""
    record = load_record(job.folder)
    keys = {
        "data": record.data_name,
        "profile": record.profile.name,
        "device": record.device,
        "model": job.model,
        "learning_rate": _learning_rate(job),
        "epochs": record.epochs,
        "seed": job.seed,
    }
    cases = study.case_dsc(job)
    return pd.DataFrame(keys, index=cases.index).join(cases)


def _learning_rate(job: Job) -> float:
    """That of the first epoch for nnU-Net, which has its own; the profile's for the others."""
    if job.model == NNUNET:
        return float(LOSSES.read(job.folder)["learning_rate"].iloc[0])
    return job.experiment.profile.learning_rate


def estimate_study(cores: int) -> str:
    """How long the stored runs of the study take here with this number of workers, in a line.

    A few batches of each network are timed for it. nnU-Net counts only if it is installed.
    """
    from spineseg.workflow.estimate import to_train  # imports torch

    stored = [each for each in experiments() if (each.results / RUNS).is_file()]
    if not stored:
        return "how long the study takes is not known: no results of it are stored"
    jobs = [job for experiment in stored for job in _stored_jobs(experiment)]
    todo = [
        (job.experiment, job.model)
        for job in jobs
        if not job.is_done and (job.model != NNUNET or nnunet_is_installed())
    ]
    return f"of the runs that are stored, {to_train(todo, cores)}"


def _stored_jobs(experiment: Experiment) -> list[Job]:
    """The runs of an experiment that results/ holds, and the trials of their search."""
    jobs = [Job(experiment, *run) for run in stored_runs(experiment)]
    if (experiment.results / VALIDATION_SCORES.name).is_file():
        keys = ["data", "model", "learning_rate", "epochs"]
        tried = VALIDATION_SCORES.read(experiment.results)[keys].drop_duplicates()
        for data, *settings in tried.itertuples(index=False):
            searched = Experiment.of(data, experiment.profile.name)
            jobs.append(study.trial(searched, *settings))
    return jobs
