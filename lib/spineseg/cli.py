"""The command line of spineseg.

Results that a script wants go to stdout, everything else to stderr. Exit codes: 0 done; 1 bad input
or a failed step, with one clear line per problem; 2 wrong usage; 3 the time limit was reached.
"""

import argparse
import math
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WRONG_USAGE, TIME_IS_UP = 2, 3
LARGEST_SEED = 4000  # of a run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        return options.command(options) or 0
    except KeyboardInterrupt:
        print("stopped; the same command resumes", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, OSError, MemoryError, ImportError) as error:
        from spineseg.utils.errors import UserError, is_out_of_memory

        if not isinstance(error, UserError) and is_out_of_memory(error):
            print("not enough memory; free some, then retry", file=sys.stderr)
        elif isinstance(error, OSError) and error.filename:
            what = (error.strerror or "cannot be used").lower()
            print(UserError.at(error.filename, what, "check its name and rights"), file=sys.stderr)
        else:
            print(error, file=sys.stderr)
        return 1


# --- the commands: docstrings are their help texts


def _phantom(options: argparse.Namespace) -> None:
    """Simulate sagittal T2 scans of the lumbar spine, with masks, in the challenge's layout."""
    from spineseg.phantom import write_dataset

    out, cases, scale, seed = options.out, options.cases, options.scale, options.seed
    print(write_dataset(out, cases, scale, seed, bodies_only=options.bodies_only))


def _check(options: argparse.Namespace) -> None:
    """Read every file of a folder and list everything that is wrong, one line each."""
    from spineseg.data.check import check_folder
    from spineseg.utils.errors import UserError

    report = check_folder(options.folder, options.labels, progress=True)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    if report.problems:
        raise UserError(*report.problems)
    if all(case.mask for case in report.cases):
        print(f"{options.folder}: {len(report.cases)} cases, nothing wrong")
    else:
        print(
            f"{options.folder}: {len(report.cases)} scans without masks, nothing wrong: "
            "`spineseg predict` takes them, training does not"
        )


def _download(options: argparse.Namespace) -> None:
    """Download a public data set from Zenodo, check it, and write it in the challenge's layout with
    one scan per patient. Prints its licence and what to cite. The same command resumes. The last
    line on stdout is the folder."""
    from spineseg.workflow.download import download

    print(download(options.name, options.folder))


def _convert(options: argparse.Namespace) -> None:
    """Write scans, one per patient, and their masks with the challenge's names and labels. Voxels
    and grid stay the same. An interrupted call resumes. The last line on stdout is the folder."""
    from spineseg.data.convert import convert

    print(convert(options.source, options.out, options.labels))


def _prepare(options: argparse.Namespace) -> None:
    """Check and preprocess scans; print the folder of the cache."""
    from spineseg.workflow.prepare import prepare

    print(prepare(_experiment(options)).folder)


def _train(options: argparse.Namespace) -> int:
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
    run = train(_experiment(options), options.model, options.fold, until, options.seed)
    if not is_finished(run):
        print(f"{run}: time is up; the same command resumes", file=sys.stderr)
        return TIME_IS_UP
    if options.score:
        score_run(run)
    print(run)
    return 0


def _evaluate(options: argparse.Namespace) -> int:
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


def _bundle(options: argparse.Namespace) -> None:
    """Put the weights and the record of a run on simulated scans into weights/, from where
    `predict` takes them. The last line on stdout is that folder."""
    from spineseg.workflow.bundle import bundle

    print(bundle(options.run, options.into))


def _cost(options: argparse.Namespace) -> None:
    """Count parameters and FLOPs of each network, and measure its time and memory on this machine
    (Table 4). The last line on stdout is the table's file."""
    from spineseg.workflow.cost import write_cost

    print(write_cost(_experiment(options)))


def _gather(options: argparse.Namespace) -> None:
    """Collect the scores of these methods and folds. The last line on stdout is their folder."""
    from spineseg.workflow.gather import gather

    experiment = _experiment(options)
    print(gather(experiment, _runs(options, experiment)))


def _compare(options: argparse.Namespace) -> None:
    """Compare the scores of new runs with the stored ones of the same experiment. Prints a line per
    run."""
    from spineseg.workflow.compare import compare_with_stored

    experiment = _experiment(options)
    for line in compare_with_stored(experiment, _runs(options, experiment)):
        print(line)


def _runs(options: argparse.Namespace, experiment: Any) -> list[Any]:
    """The runs of the named methods and folds with the seed 0."""
    from spineseg.workflow.gather import Run
    from spineseg.workflow.prepare import folds_to_run
    from spineseg.workflow.train import chosen_models

    folds = dict.fromkeys(options.folds or folds_to_run(experiment))
    return [Run(model, fold) for model in chosen_models(options.models or ()) for fold in folds]


def _tables(options: argparse.Namespace) -> None:
    """Compute the tables of results/ from the collected scores. Prints the file of each."""
    from spineseg.workflow.tables import write_tables

    experiment = _experiment(options)
    for table in write_tables(experiment):
        print(experiment.results / table.name)


def _report(options: argparse.Namespace) -> None:
    """Put the executed notebooks of an experiment on one HTML page, write how long each step took
    and where each file in results/ comes from, and print the mean scores."""
    from spineseg.workflow.report import report

    print(report(_experiment(options)))


def _verify(options: argparse.Namespace) -> None:
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


def _predict(options: argparse.Namespace) -> None:
    """Label a scan, or each scan in a folder. A mask has the scan's own grid and orientation.
    A line on stderr names the network. Nothing but masks of earlier calls is overwritten."""
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


def _bench(options: argparse.Namespace) -> None:
    """Time training, inference, preprocessing and start-up beside plain versions and other
    packages, and how all of it grows. Takes a quarter of an hour or more, best on a machine that
    does nothing else. The last line on stdout is the folder of the tables."""
    from spineseg.workflow.benchmark import benchmark

    print(benchmark(_experiment(options)))


def _reproduce(options: argparse.Namespace) -> int:
    """Train, score and tabulate everything that is missing, one step after another, without
    Snakemake. Draws no figures and executes no notebooks. The same command resumes, also on another
    machine to which the experiment's folders in runs/ and results/ were copied. The last line on
    stdout is the folder of the results."""
    from spineseg.workflow.prepare import folds_to_run
    from spineseg.workflow.reproduce import reproduce

    experiment = _experiment(options)
    models = options.models or ()
    folds = list(dict.fromkeys(options.folds or folds_to_run(experiment)))
    complete = reproduce(experiment, models, folds, options.minutes)
    print(experiment.results)
    return 0 if complete else TIME_IS_UP


def _study(options: argparse.Namespace) -> int:
    """Train and score every run behind the stored results of the phantom and the simulated
    patients, then write these results. The search for each method's settings is a part of it. The
    same command resumes. It first estimates how long the stored runs take here."""
    from spineseg.utils.processes import count_cores
    from spineseg.workflow.study_results import carry_out_study, estimate_study, store_results

    if options.store_only:
        folders = store_results()
        for folder in folders:
            print(folder)
        if not folders:
            print("no run of the study is finished; nothing was stored", file=sys.stderr)
        return 0
    workers = options.workers or count_cores()
    print(estimate_study(workers), file=sys.stderr)
    complete = carry_out_study(workers, options.minutes)
    if not complete:
        print("time is up; the same command resumes", file=sys.stderr)
    return 0 if complete else TIME_IS_UP


def _estimate(options: argparse.Namespace) -> None:
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


# --- their arguments


def _number(text: str, kind: type, fits: Callable[[Any], bool], words: str) -> Any:
    """The number in a text. Raises ArgumentTypeError if there is none or it does not fit."""
    try:
        if fits(number := kind(text)):
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text} is not {words}")


def _positive(text: str) -> int:
    return _number(text, int, lambda number: number > 0, "a positive whole number")


def _minutes(text: str) -> float:
    return _number(text, float, lambda number: 0 < number < math.inf, "a positive number")


def _scale(text: str) -> float:
    return _number(text, float, lambda number: 0 < number <= 1, "above 0 and at most 1")


def _seed(text: str) -> int:
    return _number(text, int, lambda number: number >= 0, "a whole number from 0 on")


def _run_seed(text: str) -> int:
    words = f"a whole number from 0 to {LARGEST_SEED}"
    return _number(text, int, lambda number: 0 <= number <= LARGEST_SEED, words)


def _fold_number(text: str) -> int:
    return _number(text, int, lambda number: number >= 0, "a fold's number")


def _fold(text: str) -> str:
    if text == "all":
        return text
    return str(_number(text, int, lambda number: number >= 0, "a fold's number or all"))


@dataclass(frozen=True)
class Argument:
    """The name and settings of one call of `add_argument`."""

    name: str
    settings: dict[str, Any]


def _argument(name: str, **settings: Any) -> Argument:
    return Argument(name, settings)


DATA = _argument(
    "--data",
    metavar="DIR",
    help="scans with masks as in the challenge or in SPIDER, or `simulated` "
    "(default: data/phantom)",
)
PROFILE = _argument(
    "--profile",
    default="laptop",
    metavar="P",
    help="the name of a file in profiles/, such as smoke or paper, or a .yaml file "
    "(default: laptop)",
)
EXPERIMENT = (DATA, PROFILE)
MINUTES = _argument(
    "--minutes",
    type=_minutes,
    default=math.inf,
    metavar="M",
    help="begin no epoch that would end later than this",
)
MODELS = _argument(
    "--models", nargs="+", metavar="M", help="names of methods (default: all that run here)"
)

FOLDS = _argument(
    "--folds", type=_fold_number, nargs="+", metavar="K", help="default: those of the profile"
)

LABEL_SETS = ("challenge", "spider", "verse", "totalspineseg", "spineps")
MASK_LABELS = _argument(
    "--labels",
    choices=LABEL_SETS,
    help="whose label numbers the masks have (default: those of the layout)",
)

Command = tuple[Callable[[argparse.Namespace], int | None], str, tuple[Argument, ...]]
DATA_COMMANDS: dict[str, Command] = {
    "phantom": (
        _phantom,
        "simulate scans in the challenge's layout",
        (
            _argument("out", type=Path, help="folder to write, e.g. data/phantom"),
            _argument("--cases", type=_positive, default=172, metavar="N", help="default: 172"),
            _argument(
                "--scale",
                type=_scale,
                default=0.125,
                metavar="S",
                help="in-plane size as a fraction of the challenge's 880 pixels (default: 0.125)",
            ),
            _argument("--seed", type=_seed, default=0, metavar="K", help="default: 0"),
            _argument(
                "--bodies-only", action="store_true", help="leave posterior elements unlabelled"
            ),
        ),
    ),
    "check": (
        _check,
        "list everything wrong with a folder of scans",
        (
            _argument("folder", type=Path, help="scans in any layout of docs/data.md, or one scan"),
            MASK_LABELS,
        ),
    ),
    "download": (
        _download,
        "download SPIDER or Chu et al. 2015",
        (
            _argument("name", choices=("spider", "chu"), help="spider or chu"),
            _argument("folder", type=Path, help="folder to write, e.g. data/spider"),
        ),
    ),
    "convert": (
        _convert,
        "bring scans with masks to the challenge's layout and labels",
        (
            _argument("source", type=Path, help="scans with masks in a layout of docs/data.md"),
            _argument("out", type=Path, help="folder to write, e.g. data/spider"),
            MASK_LABELS,
        ),
    ),
    "prepare": (_prepare, "preprocess scans into the cache", EXPERIMENT),
}
COMMANDS: dict[str, Command] = {
    "train": (
        _train,
        "train one method on one fold",
        (
            *EXPERIMENT,
            _argument("--model", default="aspp_unet", help="a method's name (default: aspp_unet)"),
            _argument(
                "--fold", type=_fold, default="0", metavar="K", help="0, 1, … or all (default: 0)"
            ),
            _argument(
                "--seed",
                type=_run_seed,
                default=0,
                metavar="K",
                help="of the first weights and of the order of the slices (default: 0)",
            ),
            MINUTES,
            _argument("--threads", type=_positive, metavar="N", help="CPU threads to use"),
            _argument(
                "--score", action="store_true", help="then score it, as `spineseg evaluate` does"
            ),
        ),
    ),
    "evaluate": (
        _evaluate,
        "score finished runs case by case",
        (
            _argument(
                "runs",
                type=Path,
                nargs="+",
                metavar="run",
                help="a run's folder, as `spineseg train` printed it",
            ),
            _argument(
                "--data", type=Path, metavar="DIR", help="score every case of this folder instead"
            ),
            _argument(
                "--clean-up",
                action="store_true",
                help="repair levels that cannot be, as predict does. Without --data, the scores of "
                "all these runs go into one folder",
            ),
        ),
    ),
    "bundle": (
        _bundle,
        "make a run the network that predict takes",
        (
            _argument("run", type=Path, help="a run's folder, as `spineseg train` printed it"),
            _argument(
                "--into", type=Path, metavar="DIR", help="another folder (default: weights/)"
            ),
        ),
    ),
    "cost": (_cost, "measure each network's time and memory", EXPERIMENT),
    "gather": (
        _gather,
        "collect an experiment's scores in results/",
        (*EXPERIMENT, MODELS, FOLDS),
    ),
    "compare": (
        _compare,
        "compare new runs with the stored ones",
        (*EXPERIMENT, MODELS, FOLDS),
    ),
    "tables": (_tables, "compute the tables from the collected scores", EXPERIMENT),
    "report": (_report, "write one HTML page of a finished experiment", EXPERIMENT),
    "verify": (
        _verify,
        "recompute tables from stored scores",
        (_argument("table", nargs="*", help="e.g. table3 (default: all)"), *EXPERIMENT),
    ),
    "predict": (
        _predict,
        "write the mask of a scan",
        (
            _argument(
                "scan",
                type=Path,
                help=".nii, .nii.gz, .mha or .nrrd, or a folder of these or of DICOM",
            ),
            _argument(
                "mask", type=Path, help="the file to write, or a folder; .seg.nrrd for 3D Slicer"
            ),
            _argument(
                "--run",
                type=Path,
                metavar="DIR",
                help="a finished run's folder (default: the network in weights/)",
            ),
            _argument(
                "--labels",
                choices=LABEL_SETS,
                default="challenge",
                help="whose label numbers to write (default: challenge: "
                "1 S, 2 L5, …, 6 L1, 7 T12, 8 T11)",
            ),
            _argument(
                "--no-clean-up",
                dest="clean_up",
                action="store_false",
                help="leave levels that cannot be, such as one at two places, as they were found",
            ),
            _argument(
                "--preview",
                type=Path,
                metavar="PNG",
                help="also draw the labelled slices; for several scans, a folder",
            ),
            _argument(
                "--csv",
                type=Path,
                metavar="FILE",
                help="also write volume, height and position of each level, in mm",
            ),
            _argument(
                "--label-tables",
                action="store_true",
                help="also write names and colours for ITK-SNAP and 3D Slicer beside the masks",
            ),
        ),
    ),
    "reproduce": (
        _reproduce,
        "all missing steps one after another, without Snakemake",
        (
            *EXPERIMENT,
            MODELS,
            FOLDS,
            MINUTES,
        ),
    ),
    "study": (
        _study,
        "every run behind the stored results (many hours)",
        (
            MINUTES,
            _argument(
                "--workers",
                type=_positive,
                metavar="N",
                help="train N runs at the same time (default: one per core)",
            ),
            _argument(
                "--store-only",
                action="store_true",
                help="train nothing; write the results of the runs that are finished, and what the "
                "search chose into profiles/tuned.csv",
            ),
        ),
    ),
    "estimate": (
        _estimate,
        "say how long `make reproduce` trains",
        (
            *EXPERIMENT,
            _argument("--models", nargs="+", metavar="M", help="as for `make reproduce`"),
            _argument("--runs", default="", help="as for `make reproduce`"),
            _argument("--cores", type=_positive, metavar="N", help="default: all"),
        ),
    ),
    "bench": (_bench, "measure how fast this machine works", EXPERIMENT),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spineseg",
        description="Segment sagittal spine MRI as in Cai et al. 2023 (ASPP-UNet).",
        epilog="`spineseg COMMAND --help` tells more about each.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    data = commands.add_parser("data", help="make, check or preprocess scans")
    _add(data.add_subparsers(required=True, metavar="COMMAND"), DATA_COMMANDS)
    _add(commands, COMMANDS)
    return parser


def _add(parsers: Any, commands: dict[str, Command]) -> None:
    for name, (command, words, arguments) in commands.items():
        parser = parsers.add_parser(name, help=words, description=command.__doc__)
        for argument in arguments:
            parser.add_argument(argument.name, **argument.settings)
        parser.set_defaults(command=command)


if __name__ == "__main__":
    sys.exit(main())
