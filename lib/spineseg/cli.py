"""The command line of spineseg.

Results that a script wants go to stdout, everything else to stderr. Exit codes: 0 done; 1 bad input
or a failed step, with one clear line per problem; 2 wrong usage; 3 the time limit was reached.
"""

import argparse
import io
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spineseg import commands
from spineseg.utils.progress import silence_lightning

LARGEST_SEED = 4000  # of a run


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    options = _parser().parse_args(arguments)
    silence_lightning()
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors="backslashreplace")  # file names that it cannot encode
    try:
        return options.command(options) or 0
    except KeyboardInterrupt:
        print("stopped; run the same command again", file=sys.stderr)
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
    "--models",
    nargs="+",
    metavar="M",
    help="names of methods (default: those of Table 3 that run here, and aspp_unet_noise)",
)

FOLDS = _argument(
    "--folds", type=_fold_number, nargs="+", metavar="K", help="default: those of the profile"
)

SEEDS = _argument(
    "--seeds",
    type=_run_seed,
    nargs="+",
    default=[0],
    metavar="K",
    help="of the runs, as `spineseg train` takes one (default: 0)",
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
        commands.simulate_phantom,
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
        commands.check_scans,
        "list everything wrong with a folder of scans",
        (
            _argument("folder", type=Path, help="scans in any layout of docs/data.md, or one scan"),
            MASK_LABELS,
        ),
    ),
    "download": (
        commands.download_data,
        "download SPIDER or Chu et al. 2015",
        (
            _argument("name", choices=("spider", "chu"), help="spider or chu"),
            _argument("folder", type=Path, help="folder to write, e.g. data/spider"),
        ),
    ),
    "convert": (
        commands.convert_data,
        "bring scans with masks to the challenge's layout and labels",
        (
            _argument("source", type=Path, help="scans with masks in a layout of docs/data.md"),
            _argument("out", type=Path, help="folder to write, e.g. data/spider"),
            MASK_LABELS,
        ),
    ),
    "prepare": (commands.prepare_cache, "preprocess scans into the cache", EXPERIMENT),
}
COMMANDS: dict[str, Command] = {
    "train": (
        commands.train_run,
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
        commands.evaluate_runs,
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
        commands.bundle_run,
        "make a run the network that predict takes",
        (
            _argument("run", type=Path, help="a run's folder, as `spineseg train` printed it"),
            _argument(
                "--into", type=Path, metavar="DIR", help="another folder (default: weights/)"
            ),
        ),
    ),
    "cost": (commands.measure_cost, "measure each network's time and memory", EXPERIMENT),
    "gather": (
        commands.gather_scores,
        "collect an experiment's scores in results/",
        (*EXPERIMENT, MODELS, FOLDS, SEEDS),
    ),
    "compare": (
        commands.compare_runs,
        "compare new runs with the stored ones",
        (*EXPERIMENT, MODELS, FOLDS, SEEDS),
    ),
    "tables": (commands.compute_tables, "compute the tables from the collected scores", EXPERIMENT),
    "report": (commands.write_report, "write one HTML page of a finished experiment", EXPERIMENT),
    "verify": (
        commands.verify_tables,
        "recompute tables from stored scores",
        (_argument("table", nargs="*", help="e.g. table3 (default: all)"), *EXPERIMENT),
    ),
    "predict": (
        commands.predict_masks,
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
        commands.reproduce_experiment,
        "all missing steps one after another, without Snakemake",
        (
            *EXPERIMENT,
            MODELS,
            FOLDS,
            SEEDS,
            MINUTES,
        ),
    ),
    "study": (
        commands.run_study,
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
        commands.estimate_time,
        "say how long `make reproduce` trains",
        (
            *EXPERIMENT,
            _argument("--models", nargs="+", metavar="M", help="as for `make reproduce`"),
            _argument("--runs", default="", help="as for `make reproduce`"),
            _argument("--cores", type=_positive, metavar="N", help="default: all"),
        ),
    ),
    "bench": (commands.measure_speed, "measure how fast this machine works", EXPERIMENT),
}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="spineseg",
        description="Segment sagittal spine MRI as in Cai et al. 2023 (ASPP-UNet).",
        epilog="`spineseg COMMAND --help` tells more about each.",
    )
    parsers = parser.add_subparsers(required=True, metavar="COMMAND")
    data = parsers.add_parser("data", help="make, check or preprocess scans")
    _add(data.add_subparsers(required=True, metavar="COMMAND"), DATA_COMMANDS)
    _add(parsers, COMMANDS)
    return parser


def _add(parsers: Any, named: dict[str, Command]) -> None:
    for name, (command, words, arguments) in named.items():
        parser = parsers.add_parser(name, help=words, description=command.__doc__)
        for argument in arguments:
            parser.add_argument(argument.name, **argument.settings)
        parser.set_defaults(command=command)


if __name__ == "__main__":
    sys.exit(main())
