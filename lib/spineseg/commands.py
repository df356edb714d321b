"""What each command of spineseg does; the docstrings are their help texts.

Each takes the parsed arguments and returns its exit code, or None if it is done. What it needs is
imported when it runs, so that `--help` is fast.
"""

import argparse
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

WRONG_USAGE, TIME_IS_UP = 2, 3  # exit codes


def simulate_phantom(options: argparse.Namespace) -> None:
    """Simulate sagittal T2 scans of the lumbar spine, with masks, in the challenge's layout."""
    from spineseg.phantom import write_dataset

    out, cases, scale, seed = options.out, options.cases, options.scale, options.seed
    _refuse_other_files(out)
    print(write_dataset(out, cases, scale, seed, bodies_only=options.bodies_only))


def _refuse_other_files(out: Path) -> None:
    """Raise UserError if a folder holds anything, and no record of a phantom."""
    from spineseg.utils.errors import UserError

    if out.is_dir() and any(out.glob("[!.]*")) and not any(out.glob("phantom*.json")):
        raise UserError.at(out, "holds files that are no phantom", "choose another folder")


def check_scans(options: argparse.Namespace) -> None:
    """Read every file of a folder and list everything that is wrong, one line each."""
    from spineseg.data.check import check_folder
    from spineseg.utils.errors import UserError

    report = check_folder(options.folder, options.labels, progress=True)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if report.problems:
        raise UserError(*report.problems)
    number = len(report.cases)
    many = number != 1
    if all(case.mask for case in report.cases):
        print(f"{options.folder}: {number} case{'s' * many}, nothing wrong")
    else:
        print(
            f"{options.folder}: {number} scan{'s' * many} without a mask, nothing wrong: `spineseg "
            f"predict` takes {'them' if many else 'it'}, training does not"
        )


def download_data(options: argparse.Namespace) -> None:
    """Download a public data set from Zenodo, check it, and write it in the challenge's layout with
    one scan per patient. Prints its licence and what to cite. The same command resumes. The last
    line on stdout is the folder."""
    from spineseg.workflow.download import download

    print(download(options.name, options.folder))


def convert_data(options: argparse.Namespace) -> None:
    """Write scans, one per patient, and their masks with the challenge's names and labels. Voxels
    and grid stay the same. An interrupted call resumes. The last line on stdout is the folder."""
    from spineseg.data.convert import convert

    print(convert(options.source, options.out, options.labels))


def prepare_cache(options: argparse.Namespace) -> None:
    """Check and preprocess scans; print the folder of the cache."""
    from spineseg.workflow.prepare import prepare

    print(prepare(_experiment(options)).folder)


def train_run(options: argparse.Namespace) -> int:
    """Train one method on one fold. An interrupted run resumes; a finished one is left as it is.
    The last line on stdout is the run's folder."""
    if options.threads:
        os.environ["OMP_NUM_THREADS"] = str(options.threads)  # before torch is imported
    from spineseg.experiment import ALL
    from spineseg.runs import is_finished
    from spineseg.workflow.score import score_run
    from spineseg.workflow.train import time_limit, train

    if options.score and options.fold == ALL:
        print("--score needs held-out cases, and fold all holds none out", file=sys.stderr)
        return WRONG_USAGE
    until = time_limit(options.minutes)
    experiment = _experiment(options)
    run = train(experiment, options.model, options.fold, until, options.seed)
    if not is_finished(run):
        print(f"{run}: time is up; the same command resumes", file=sys.stderr)
        return TIME_IS_UP
    if options.score:
        score_run(run, experiment)
    print(run)
    return 0


def evaluate_runs(options: argparse.Namespace) -> int:
    """Score each run on its test cases, without and with noise, or one run on every case of another
    folder. A line on stdout is a folder of scores."""
    from spineseg.utils.errors import of_each
    from spineseg.workflow.score import score_on, score_run, tested_record
    from spineseg.workflow.score_repaired import score_repaired

    if options.data and len(options.runs) > 1:
        print("--data takes one run", file=sys.stderr)
        return WRONG_USAGE
    if options.data:
        print(score_on(options.runs[0], options.data, options.clean_up))
    elif options.clean_up:
        print(score_repaired(options.runs))
    else:
        of_each(options.runs, tested_record)  # names every bad run before any is scored
        for run in options.runs:
            print(score_run(run))
    return 0


def bundle_run(options: argparse.Namespace) -> None:
    """Put the weights and the record of a run on simulated scans into weights/, from where
    `predict` takes them. The last line on stdout is that folder."""
    from spineseg.workflow.bundle import bundle

    print(bundle(options.run, options.into))


def measure_cost(options: argparse.Namespace) -> None:
    """Count parameters and FLOPs of each network, and measure its time and memory on this machine
    (Table 4). The last line on stdout is the table's file."""
    from spineseg.workflow.cost import write_cost

    print(write_cost(_experiment(options)))


def gather_scores(options: argparse.Namespace) -> None:
    """Collect the scores of these methods, folds and seeds. The last line on stdout is their
    folder."""
    from spineseg.workflow.gather import gather

    experiment = _experiment(options)
    print(gather(experiment, _runs(options, experiment)))


def compare_runs(options: argparse.Namespace) -> None:
    """Compare the scores of new runs with the stored ones of the same experiment. Prints a line per
    run."""
    from spineseg.workflow.compare import compare_with_stored

    experiment = _experiment(options)
    for line in compare_with_stored(experiment, _runs(options, experiment)):
        print(line)


def _runs(options: argparse.Namespace, experiment: Any) -> list[Any]:
    """The runs of the named methods, folds and seeds."""
    from spineseg.workflow.gather import Run
    from spineseg.workflow.train import known_models

    models = known_models(options.models or ())
    return [Run(*run) for run in product(models, *_folds_and_seeds(options, experiment))]


def _folds_and_seeds(options: argparse.Namespace, experiment: Any) -> tuple[list[int], list[int]]:
    """The named folds, or those of the profile, and the named seeds, once each."""
    from spineseg.workflow.prepare import folds_to_run

    folds = options.folds or folds_to_run(experiment)
    return list(dict.fromkeys(folds)), list(dict.fromkeys(options.seeds))


def compute_tables(options: argparse.Namespace) -> None:
    """Compute the tables of results/ from the collected scores, record where they come from, and
    remove tables whose scores are gone. Prints the file of each."""
    from spineseg.workflow.gather import record_origin
    from spineseg.workflow.tables import write_tables

    experiment = _experiment(options)
    for table in write_tables(experiment):
        print(experiment.results / table.name)
    record_origin(experiment)


def write_report(options: argparse.Namespace) -> None:
    """Put the executed notebooks of an experiment on one HTML page, write how long each step took
    and where each file in results/ comes from, and print the mean scores."""
    from spineseg.workflow.report import report

    print(report(_experiment(options)))


def verify_tables(options: argparse.Namespace) -> None:
    """Recompute tables from the scores stored in results/ and tell whether they match to the last
    digit. Without any argument, those of all experiments of the study. Nothing is trained or
    written."""
    from spineseg.utils.errors import Problem, UserError
    from spineseg.workflow.study_results import stored_beside
    from spineseg.workflow.verify import verify

    experiment = _experiment(options)
    problems: list[Problem] = []
    for each in [experiment, *([] if options.table else stored_beside(experiment))]:
        try:
            for line in verify(each, options.table):
                print(f"{each.name}/{line}")
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(*problems)


def predict_masks(options: argparse.Namespace) -> None:
    """Label a scan, or each scan in a folder. A mask has the scan's own grid and orientation.
    A line on stderr names the network. Only what earlier calls wrote is overwritten, and no mask
    that was changed since."""
    from tqdm import tqdm

    from spineseg.utils.errors import Problem, UserError
    from spineseg.workflow.predict import predict_all
    from spineseg.workflow.targets import Outputs

    outputs = Outputs(
        options.labels, options.clean_up, options.preview, options.csv, options.label_tables
    )
    problems: list[Problem] = []
    masks = 0
    for path, found in predict_all(options.scan, options.mask, options.run, outputs):
        if isinstance(found, UserError):
            problems += found.problems
        else:
            masks += 1
            names = [name for name, count in found.items() if count and name != "BG"]
            tqdm.write(f"{path}: {', '.join(names) or 'no vertebra found'}")  # above the bar
    if masks + len(problems) > 1:
        places = [options.mask, *filter(None, (outputs.preview, outputs.csv))]
        where = f", in {', '.join(map(str, places))}" if masks else ""
        failed = f"; {len(problems)} problem{'s' * (len(problems) > 1)}" if problems else ""
        print(f"{masks} scan{'s' * (masks != 1)} labelled{where}{failed}", file=sys.stderr)
    if problems:
        raise UserError(*problems)


def measure_speed(options: argparse.Namespace) -> None:
    """Time training, inference, preprocessing and start-up beside plain versions and other
    packages, and how all of it grows. Takes a quarter of an hour or more, best on a machine that
    does nothing else. The last line on stdout is the folder of the tables."""
    from spineseg.workflow.benchmark import benchmark

    print(benchmark(_experiment(options)))


def reproduce_experiment(options: argparse.Namespace) -> int:
    """Train, score and tabulate everything that is missing, one step after another, without
    Snakemake. Draws no figures and executes no notebooks. The same command resumes, also on another
    machine to which the experiment's folders in runs/ and results/ were copied. The last line on
    stdout is the folder of the results."""
    from spineseg.workflow.reproduce import reproduce

    experiment = _experiment(options)
    models = options.models or ()
    folds, seeds = _folds_and_seeds(options, experiment)
    complete = reproduce(experiment, models, folds, seeds, options.minutes)
    print(experiment.results)
    return 0 if complete else TIME_IS_UP


def run_study(options: argparse.Namespace) -> int:
    """Train and score every run behind the stored results of the phantom and the simulated
    patients, then write these results. The search for each method's settings is a part of it. The
    same command resumes. It first estimates how long the stored runs take here."""
    from spineseg.utils.errors import UserError
    from spineseg.utils.processes import count_cores
    from spineseg.workflow.study_results import carry_out_study, estimate_study, store_results

    if options.store_only:
        folders = store_results()
        for folder in folders:
            print(folder)
        if not folders:
            raise UserError.at("study", "no run is finished", "run `spineseg study` first")
        return 0
    workers = options.workers or count_cores()
    print(estimate_study(workers), file=sys.stderr)
    complete = carry_out_study(workers, options.minutes)
    if not complete:
        print("time is up; the same command resumes", file=sys.stderr)
    return 0 if complete else TIME_IS_UP


def estimate_time(options: argparse.Namespace) -> None:
    """Say what `make reproduce` would train, and about how long that takes on this machine. A few
    batches are timed for it."""
    from spineseg.utils.paths import REPOSITORY
    from spineseg.utils.processes import count_cores
    from spineseg.workflow.estimate import estimate
    from spineseg.workflow.graph import NO_RUNS, Graph

    config = {
        "data": options.data or "",
        "profile": options.profile,
        "models": " ".join(options.models or ()),
        "runs": options.runs,
    }
    graph = Graph(config, REPOSITORY)
    runs = [] if graph.wanted == NO_RUNS else graph.runs
    print(estimate(graph.experiment, runs, options.cores or count_cores()))


def _experiment(options: argparse.Namespace):
    from spineseg.experiment import Experiment

    return Experiment.of(options.data, options.profile)
