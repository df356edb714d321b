"""The command line: `spineseg data | train | evaluate | cost | gather | report | verify | predict |
bench | full`.

Results a script wants go to stdout, all else to stderr. Exit codes: 0 done, 1 bad input or a failed
run (one clear line for each problem), 2 wrong usage.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from spineseg.utils.errors import UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    try:
        options.command(options)
    except KeyboardInterrupt:
        print("stopped; the same command goes on where this one ended", file=sys.stderr)
        return 1
    except (ValueError, RuntimeError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spineseg",
        description="Segment sagittal spine MRI as in Cai et al. 2023 (ASPP-UNet).",
        epilog="`spineseg COMMAND --help` tells more about each.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_data(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_cost(commands)
    _add_gather(commands)
    _add_report(commands)
    _add_verify(commands)
    _add_predict(commands)
    _add_bench(commands)
    _add_full(commands)
    return parser


def _add_data(commands) -> None:
    data = commands.add_parser("data", help="make, check or preprocess scans")
    kinds = data.add_subparsers(required=True, metavar="COMMAND")

    phantom = kinds.add_parser(
        "phantom", help="simulate scans in the challenge's layout", description=_phantom.__doc__
    )
    phantom.add_argument("out", type=Path, help="folder to write, e.g. data/phantom")
    phantom.add_argument("--cases", type=_positive, default=172, metavar="N", help="default: 172")
    phantom.add_argument(
        "--scale",
        type=_scale,
        default=0.125,
        metavar="S",
        help="in-plane size as a fraction of the challenge's 880 pixels (default: 0.125)",
    )
    phantom.add_argument("--seed", type=int, default=0, metavar="K", help="default: 0")
    phantom.add_argument(
        "--bodies-only", action="store_true", help="leave posterior elements unlabelled"
    )
    phantom.set_defaults(command=_phantom)

    check = kinds.add_parser(
        "check", help="list everything wrong with a folder of scans", description=_check.__doc__
    )
    check.add_argument("folder", type=Path, help="scans in any layout of docs/data.md, or one scan")
    check.set_defaults(command=_check)

    convert = kinds.add_parser(
        "convert", help="bring SPIDER to the challenge's layout", description=_convert.__doc__
    )
    convert.add_argument("source", type=Path, help="holds images/ and masks/")
    convert.add_argument("out", type=Path, help="folder to write, e.g. data/spider")
    convert.set_defaults(command=_convert)

    prepare = kinds.add_parser(
        "prepare", help="preprocess scans into the cache", description=_prepare.__doc__
    )
    _add_experiment(prepare)
    prepare.set_defaults(command=_prepare)


def _add_train(commands) -> None:
    train = commands.add_parser(
        "train", help="train one model on one fold", description=_train.__doc__
    )
    _add_experiment(train)
    train.add_argument("--model", default="aspp_unet", help="a method's name (default: aspp_unet)")
    train.add_argument(
        "--fold", type=_fold, default="0", metavar="K", help="0, 1, … or all (default: 0)"
    )
    train.add_argument(
        "--devices",
        type=_positive,
        default=1,
        metavar="N",
        help="GPUs, or where there is none CPU processes, that share the run (default: 1)",
    )
    train.add_argument(
        "--score", action="store_true", help="then score it, as `spineseg evaluate` does"
    )
    train.set_defaults(command=_train)


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate", help="score a finished run case by case", description=_evaluate.__doc__
    )
    evaluate.add_argument("run", type=Path, help="a run's folder, as `spineseg train` printed it")
    evaluate.add_argument(
        "--data", type=Path, metavar="DIR", help="score every case of this folder instead"
    )
    evaluate.set_defaults(command=_evaluate)


def _add_cost(commands) -> None:
    cost = commands.add_parser(
        "cost", help="measure each network's time and memory", description=_cost.__doc__
    )
    _add_experiment(cost)
    cost.set_defaults(command=_cost)


def _add_gather(commands) -> None:
    gather = commands.add_parser(
        "gather", help="gather an experiment's scores into results/", description=_gather.__doc__
    )
    _add_experiment(gather)
    gather.add_argument(
        "--models", nargs="+", metavar="M", help="methods' names (default: all that run here)"
    )
    gather.set_defaults(command=_gather)


def _add_report(commands) -> None:
    report = commands.add_parser(
        "report", help="write one HTML page of a finished experiment", description=_report.__doc__
    )
    _add_experiment(report)
    report.set_defaults(command=_report)


def _add_verify(commands) -> None:
    verify = commands.add_parser(
        "verify", help="recompute tables from stored scores", description=_verify.__doc__
    )
    verify.add_argument("table", nargs="*", help="e.g. table3 (default: all)")
    _add_experiment(verify)
    verify.set_defaults(command=_verify)


def _add_predict(commands) -> None:
    predict = commands.add_parser(
        "predict", help="write the mask of a scan", description=_predict.__doc__
    )
    predict.add_argument(
        "scan", type=Path, help=".nii, .nii.gz, .mha or .nrrd, or a folder of these or of DICOM"
    )
    predict.add_argument("mask", type=Path, help="the file to write; for several scans, a folder")
    predict.add_argument(
        "--run", type=Path, metavar="DIR", help="a run's folder (default: the newest finished run)"
    )
    predict.set_defaults(command=_predict)


def _add_bench(commands) -> None:
    bench = commands.add_parser(
        "bench", help="measure how fast this machine is put to use", description=_bench.__doc__
    )
    _add_experiment(bench)
    bench.set_defaults(command=_bench)


def _add_experiment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data",
        metavar="DIR",
        help="scans with masks as in the challenge or in SPIDER (default: data/phantom)",
    )
    parser.add_argument(
        "--profile",
        default="quick",
        metavar="P",
        help="smoke, quick, full, or a .yaml file (default: quick)",
    )


def _add_full(commands) -> None:
    full = commands.add_parser(
        "full", help="the paper's own scale on a GPU, in pieces", description=_full.__doc__
    )
    full.add_argument(
        "--profile", default="full", metavar="P", help="full, full-adamw, or a .yaml file"
    )
    full.add_argument("--epochs", type=_positive, metavar="N", help="default: the profile's")
    full.add_argument(
        "--minutes", type=float, default=float("inf"), metavar="M", help="stop before they are over"
    )
    full.add_argument("--cases", type=_positive, default=172, metavar="N", help="default: 172")
    full.add_argument(
        "--folds", type=int, nargs="+", metavar="K", help="which, in this order (default: all)"
    )
    full.set_defaults(command=_full)


def _positive(text: str) -> int:
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return number


def _scale(text: str) -> float:
    if not 0 < (number := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not above 0 and at most 1")
    return number


def _fold(text: str) -> str:
    if text != "all" and not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is neither a fold's number nor all")
    return text


def _phantom(options: argparse.Namespace) -> None:
    """Simulate sagittal T2 scans of the lumbar spine, with masks, in the challenge's layout."""
    from spineseg.phantom import write_dataset

    print(
        write_dataset(
            options.out,
            options.cases,
            options.scale,
            options.seed,
            bodies_only=options.bodies_only,
        )
    )


def _check(options: argparse.Namespace) -> None:
    """Read every file of a folder and list all that is wrong, one line each."""
    from spineseg.data.check import check_folder

    report = check_folder(options.folder, progress=True)
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


def _convert(options: argparse.Namespace) -> None:
    """Write the T2 scans of a SPIDER folder, one a patient, and their masks with the challenge's
    names and labels, voxels and grid unchanged. An interrupted call goes on. The last line on
    stdout is the folder."""
    from spineseg.data.convert import convert

    print(convert(options.source, options.out))


def _prepare(options: argparse.Namespace) -> None:
    """Check and preprocess scans; print the folder of the cache."""
    from spineseg.data.preprocess import prepare
    from spineseg.experiment import Experiment

    print(prepare(Experiment.of(options.data, options.profile)).folder)


def _train(options: argparse.Namespace) -> None:
    """Train one model on one fold. An interrupted run goes on; a finished one is left as it is.
    The last line on stdout is the run's folder."""
    from spineseg.experiment import Experiment
    from spineseg.parallel import is_first_process
    from spineseg.training.loop import train

    experiment = Experiment.of(options.data, options.profile)
    run = train(experiment, options.model, options.fold, options.devices)
    if not is_first_process():
        return
    if options.score:
        from spineseg.workflow.gather import score_run

        score_run(run)
    print(run)


def _evaluate(options: argparse.Namespace) -> None:
    """Score a run on the cases it held out, without and with noise. The last line on stdout is
    where the scores lie."""
    from spineseg.workflow.gather import score_run

    print(score_run(options.run, options.data))


def _cost(options: argparse.Namespace) -> None:
    """Count parameters and FLOPs of each network, and measure its time and memory on this machine
    (Table 4). The last line on stdout is the table's file."""
    from spineseg.benchmark.cost import write_cost
    from spineseg.experiment import Experiment

    print(write_cost(Experiment.of(options.data, options.profile)))


def _full(options: argparse.Namespace) -> None:
    """Measure, train and score all methods but nnU-Net on phantoms of the paper's size, which are
    simulated on the unified grid. The same command goes on where it stopped, on another machine
    where the experiment's folder in runs/ was copied there. The last line on stdout is the folder of the
    results so far."""
    from spineseg.workflow.full import full_experiment, run_full

    experiment = full_experiment(options.profile, options.epochs)
    folds = options.folds or range(experiment.profile.folds)
    run_full(experiment, options.cases, folds, options.minutes)
    print(experiment.results)


def _gather(options: argparse.Namespace) -> None:
    """Gather the scores of all folds that the profile asks for. The last line on stdout is the
    folder they lie in."""
    from spineseg.experiment import Experiment
    from spineseg.methods import runnable
    from spineseg.workflow.gather import gather

    experiment = Experiment.of(options.data, options.profile)
    gather(experiment, options.models or runnable())
    print(experiment.results)


def _report(options: argparse.Namespace) -> None:
    """Put the executed notebooks of an experiment on one HTML page, write how long each step took and
    where each file in results/ comes from, and print the mean scores."""
    from spineseg.experiment import Experiment
    from spineseg.workflow.report import report

    print(report(Experiment.of(options.data, options.profile)))


def _verify(options: argparse.Namespace) -> None:
    """Recompute tables from the scores stored in results/ and tell whether they match to the last
    digit. Nothing is trained or written."""
    from spineseg.experiment import Experiment
    from spineseg.workflow.verify import verify

    for line in verify(Experiment.of(options.data, options.profile), options.table):
        print(line)


def _predict(options: argparse.Namespace) -> None:
    """Label a scan, or each scan in a folder, with a trained run. A mask has the scan's own grid
    and orientation and the challenge's labels: 1 S, 2 L5 … 6 L1, 7 T12, 8 T11."""

    from spineseg.workflow.predict import predict_all

    problems = []
    for path, found in predict_all(options.scan, options.mask, options.run):
        if isinstance(found, UserError):
            problems.append(*found.problems)
        else:
            names = [name for name, count in found.items() if count and name != "BG"]
            print(f"{path}: {', '.join(names) or 'no vertebra found'}")
    if problems:
        raise UserError(*problems)


def _bench(options: argparse.Namespace) -> None:
    """Time training, inference, preprocessing and start-up side by side with plain versions and
    with other packages, and how all of it grows. Takes a quarter of an hour or more; best on a
    machine that does nothing else. The last line on stdout is the tables' folder."""
    from spineseg.benchmark.run import bench
    from spineseg.experiment import Experiment

    print(bench(Experiment.of(options.data, options.profile)))


if __name__ == "__main__":
    sys.exit(main())
