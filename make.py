#!/usr/bin/env python3
"""Set up, reproduce, test and use this project on Linux, macOS and Windows.

Needs Python 3.11 or newer with its module venv: no make, no shell, no installed package.
`python make.py` lists the commands. The Makefile calls this file.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "ready"  # holds the hash of PINS with which .venv was built
NNUNET_PATHS = tuple(f"{lib}/site-packages/nnunetv2" for lib in ("lib/python*", "Lib"))
PINS = ("requirements.lock", "pyproject.toml")
OLDEST = (3, 11)
PROFILE = "laptop"
# A data set without a folder, as in spineseg.experiment.
SIMULATED = re.compile(r"(simulated|randomised)(?:-([1-9][0-9]{0,3}))?")
TIME_IS_UP = b"time is up"  # what `spineseg train` says on stderr
FAILED = b"RuleException:"  # what Snakemake says there of each job that failed
EXIT_TIME_IS_UP = 3
EXIT_WRONG_USAGE = 2
JOBLIBS_CORES = "LOKY_MAX_CPU_COUNT"  # its `cpu_count` and our `count_cores` obey it
# What pip keeps of a user's settings. Others, such as `user` and `target`, install elsewhere.
PIP_SETTINGS = (
    *("index-url", "extra-index-url", "no-index", "find-links", "constraint", "trusted-host"),
    *("cert", "client-cert", "proxy", "timeout", "default-timeout", "retries"),
    *("cache-dir", "no-cache-dir", "keyring-provider", "disable-pip-version-check"),
)
NNUNET = "nnunetv2==2.8.1"
SITE = ("sphinx==9.0.4", "myst-nb==1.4.0", "furo==2025.12.19")
# Two processes share the tests, file by file; more would make the shared fixtures again.
IN_PARALLEL = ("--numprocesses", "2", "--dist", "loadfile")
BROWSER = "playwright==1.65.2"  # drives a Chromium that is installed apart from it
SLURM_PLUGIN = "snakemake-executor-plugin-slurm==2.8.0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    return options.command(options)


def _add_experiment(command: argparse.ArgumentParser) -> None:
    """The options that name the data and the profile."""
    command.add_argument("--data", default="", metavar="DIR", help="default: the phantom")
    command.add_argument(
        "--profile", default=PROFILE, metavar="P", help=f"its name or file (default: {PROFILE})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python make.py",
        description="Set up, reproduce, test and use this project.",
        epilog="Each command builds .venv first if that is needed.",
        formatter_class=partial(argparse.HelpFormatter, indent_increment=1),
    )
    parser.set_defaults(command=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    setup = commands.add_parser("setup", help="build .venv from requirements.lock")
    setup.set_defaults(command=lambda _: prepare())

    _add_reproduce(commands.add_parser("reproduce", help="run everything, from scans to figures"))

    figures = commands.add_parser(
        "figures", help="make every table and figure again from stored scores"
    )
    _add_experiment(figures)
    figures.set_defaults(
        command=_reproduce, runs="none", models=[], cluster=None, cores=None, minutes=None
    )

    test = commands.add_parser("test", help="run the library's tests, then nbval on the notebooks")
    test.set_defaults(command=_test)

    lab = commands.add_parser("lab", help="open the lessons in JupyterLab")
    lab.set_defaults(command=_lab)

    course = commands.add_parser(
        "course", help="write notebooks for students and solutions into course/"
    )
    course.set_defaults(command=lambda _: prepare() or run(course_command()))

    site = commands.add_parser("site", help="build the site with all lessons: site/_build/html")
    site.add_argument(
        "--notebooks", metavar="DIR", help="take executed notebooks from here if it has them"
    )
    site.set_defaults(command=_site)

    predict = commands.add_parser("predict", help="label one scan")
    predict.add_argument("scan", nargs="?", default="", metavar="SCAN", help="e.g. in.nii.gz")
    predict.add_argument("mask", nargs="?", default="", metavar="MASK", help="e.g. out.nii.gz")
    predict.set_defaults(command=_predict)

    nnunet = commands.add_parser("nnunet", help="for the row of nnU-Net: install it too")
    nnunet.set_defaults(command=lambda _: prepare() or install_nnunet())

    lint = commands.add_parser("lint", help="for developers: ruff, mypy and import-linter")
    lint.set_defaults(command=lambda _: prepare() or run_all(lint_commands()))
    return parser


def _add_reproduce(command: argparse.ArgumentParser) -> None:
    _add_experiment(command)
    command.add_argument(
        "--models",
        nargs="+",
        default=[],
        metavar="M",
        help="train these methods (default: U-Net-2D and ASPP-UNet)",
    )
    command.add_argument(
        "--runs", choices=["all"], default="", help="train everything (hours; it can be resumed)"
    )
    where = command.add_mutually_exclusive_group()
    where.add_argument("--cluster", choices=["slurm"], help="run each step as a cluster job")
    where.add_argument("--cores", type=_cores, metavar="N", help="use N cores (default: all)")
    command.add_argument(
        "--minutes", type=_minutes, metavar="M", help="begin no epoch that would end later"
    )
    command.set_defaults(command=_reproduce)


def _cores(text: str) -> int:
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return minutes


def prepare() -> int:
    """Build or update .venv if it does not match PINS; returns the exit code.

    A .venv that is a link belongs to another clone. It is used as it is: to build it here would
    empty the other one.
    """
    if VENV.is_symlink():
        if in_venv("python").is_file():
            return 0
        raise SystemExit(f"{VENV} is a link to no environment: remove it and run this again")
    wanted = pins_hash()
    built = STAMP.is_file() and STAMP.read_text(encoding="utf-8") == wanted
    if built and in_venv("python").is_file():
        return 0
    can_build = all(find_spec(name) for name in ("venv", "ensurepip"))
    if line := refusal(sys.version_info[:2], can_build):
        raise SystemExit(line)
    print("building .venv from requirements.lock: some minutes the first time", flush=True)
    inside = Path(sys.prefix).resolve() == VENV  # then it is kept and updated
    lost = not inside and any(any(VENV.glob(path)) for path in NNUNET_PATHS)
    if not inside and (code := run([sys.executable, "-m", "venv", "--clear", str(VENV)])):
        return code
    if code := install("--requirement", "requirements.lock") or install(
        "--no-deps", "--editable", "."
    ):
        return code
    STAMP.write_text(wanted, encoding="utf-8")
    if lost:
        print("the new .venv has no nnU-Net: `make nnunet` installs it again (docs/nnunet.md)")
    return 0


def pins_hash() -> str:
    """The hash of the files that say what is installed."""
    return hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in PINS)).hexdigest()


def refusal(version: tuple[int, ...], can_build: bool) -> str:
    """One line that says why this Python cannot build .venv, or nothing."""
    if version < OLDEST:
        return (
            f"Python {'.'.join(map(str, OLDEST))} or newer is needed, and {sys.executable} is "
            f"{'.'.join(map(str, version))}: use a newer one, "
            "as in `python3.11 make.py setup` or `make PYTHON=python3.11 setup`"
        )
    if not can_build:
        package = f"python{'.'.join(map(str, version))}-venv"
        return (
            f"{sys.executable} cannot make virtual environments: "
            f"on Debian and Ubuntu run `sudo apt install {package}`"
        )
    return ""


def install(*arguments: str) -> int:
    """Install into .venv; returns pip's exit code. Packages are compiled when first imported."""
    pip = _python("-m", "pip", "install", "--quiet", "--no-compile")
    return run([*pip, *arguments], **pip_variables())


def pip_variables() -> dict[str, str]:
    """Variables that leave of the user's settings of pip only PIP_SETTINGS."""
    command = _python("-m", "pip", "config", "list")
    all_files = environment(PIP_USER="0")  # with `user`, pip would list one file only
    listed = subprocess.run(command, env=all_files, capture_output=True, text=True, check=False)
    found = re.findall(r"^([\w:]+)\.([a-z-]+)=('.*'|\".*\")$", listed.stdout, re.MULTILINE)
    kept = {
        f"PIP_{name.upper().replace('-', '_')}": " ".join(ast.literal_eval(text).split())
        for wanted in ("global", "install", ":env:")  # later ones count more
        for section, name, text in found
        if section == wanted and name in PIP_SETTINGS
    }
    cleared = {name: "" for name in os.environ if name.startswith("PIP_")}  # pip skips empty ones
    return {**cleared, "PIP_CONFIG_FILE": os.devnull, **kept}


def _reproduce(options: argparse.Namespace) -> int:
    if options.cluster and is_study(options):
        print("the study runs on one machine: leave the cluster out, or name DATA", file=sys.stderr)
        return EXIT_WRONG_USAGE
    if options.cluster and options.minutes:
        limits = "cluster/jobs.yaml has the limits of a cluster's jobs"
        print(f"leave the minutes out: {limits}", file=sys.stderr)
        return EXIT_WRONG_USAGE
    if code := prepare():
        return code
    if options.cluster and (code := install_cluster()):
        return code
    copy_stored_results()
    start = time.monotonic()
    cores = None if options.cluster else options.cores or count_cores()
    variables = {JOBLIBS_CORES: str(cores)} if cores else {}
    before, runs = first_step(options)
    if before and (code := run(before, **variables)):
        return code
    command = reproduce_command(
        *(options.data, options.profile, options.models, runs),
        *(options.cluster, cores, options.minutes),
    )
    if options.minutes:
        code, (late, failed) = run_watched(command, TIME_IS_UP, FAILED, **variables)
    else:
        code, late, failed = run(command, **variables), 0, 0
    minutes, seconds = divmod(round(time.monotonic() - start), 60)
    took = f"{minutes} min {seconds:02d} s"
    if code == 0:
        print(f"everything took {took}")
    elif 0 < failed <= late:
        print(f"the time is up after {took}: the same command resumes")
        return EXIT_TIME_IS_UP
    return code


def copy_stored_results() -> None:
    """Copy the stored results to where SPINESEG_ROOT keeps results, if it has no such scores."""
    for scores in (ROOT / "results").glob("*/scores.csv"):
        target = _output_root() / "results" / scores.parent.name
        if not (target / scores.name).exists():
            partial = target.with_name(f".part-{target.name}")
            shutil.rmtree(partial, ignore_errors=True)  # of an interrupted call
            shutil.copytree(scores.parent, partial)
            target.mkdir(exist_ok=True)
            for file in sorted(partial.iterdir(), key=lambda each: each.name == scores.name):
                file.replace(target / file.name)  # the scores last: then all is there
            partial.rmdir()


def first_step(options: argparse.Namespace) -> tuple[list[str], str]:
    """The command to run before the graph, if any, and the runs that are left to the graph."""
    if options.runs == "none" or options.cluster:
        return [], options.runs
    if is_study(options):
        return study_command(options.minutes), "none"
    estimate = estimate_command(options.data, options.profile, options.models, options.runs)
    return estimate, options.runs


def is_study(options: argparse.Namespace) -> bool:
    """Whether all runs of the stored results are asked for."""
    default = options.profile == PROFILE and not (options.data or options.models)
    return options.runs == "all" and default


def study_command(minutes: float | None = None) -> list[str]:
    limit = ["--minutes", f"{minutes:g}"] if minutes else []
    return _python("-m", "spineseg", "study", *limit)


def estimate_command(data: str, profile: str, models: Sequence[str], runs: str) -> list[str]:
    """Say what is trained and about how long it takes. Paths are relative to the caller's."""
    given = [f"--data={_path(data)}", f"--profile={_profile_path(profile)}", f"--runs={runs}"]
    named = ["--models", *" ".join(models).split()] if models else []
    return _python("-m", "spineseg", "estimate", *given, *named)


def install_cluster() -> int:
    """Install what submits jobs to SLURM."""
    return install("--constraint", "requirements.lock", SLURM_PLUGIN)


def install_nnunet() -> int:
    """Install the optional nnU-Net."""
    return install("--constraint", "requirements.lock", NNUNET)


def install_site() -> int:
    """Install what makes pages of the notebooks."""
    return install("--constraint", "requirements.lock", *SITE)


def install_browser() -> int:
    """Install what drives a browser through the site."""
    return install("--constraint", "requirements.lock", BROWSER)


def _site(options: argparse.Namespace) -> int:
    given = ["--notebooks", _absolute(options.notebooks)] if options.notebooks else []
    return prepare() or install_site() or run(site_command(*given))


def site_command(*options: str) -> list[str]:
    return _python("-m", "tools.website", *options)


def reproduce_command(
    data: str = "",
    profile: str = PROFILE,
    models: Sequence[str] = (),
    runs: str = "",
    cluster: str | None = None,
    cores: int | None = None,
    minutes: float | None = None,
) -> list[str]:
    """Snakemake on the whole graph. Paths may be relative to the caller's folder."""
    where = ["--profile", f"cluster/{cluster}"] if cluster else ["--cores", str(cores or "all")]
    limit = ["--keep-going"] if minutes else []
    values = {
        "data": _uri(data) if data and not SIMULATED.fullmatch(data) else data,
        "profile": _uri(profile) if profile.endswith(".yaml") else profile or PROFILE,
        "models": " ".join(" ".join(models).split()),
        "runs": runs,
    }
    config = [  # Snakemake reads each value as YAML, after it removed quotes from its ends
        *(f"{name}= {json.dumps(text)} " for name, text in values.items()),
        *([f"minutes={minutes:g}"] if minutes else []),
    ]
    options = ["--quiet", "rules", "--rerun-incomplete", *limit, "--config", *config]
    return _python("-m", "snakemake", *where, *options)


def _lab(_: argparse.Namespace) -> int:
    if code := prepare():
        return code
    copy_stored_results()
    return run(lab_command(), PATH=path_with_venv())


def _test(_: argparse.Namespace) -> int:
    if code := prepare():
        return code
    copy_stored_results()
    return run_all(phantom_commands()) or run_tests() or run_notebooks()


def phantom_commands() -> list[list[str]]:
    """Simulate the phantom if it is missing."""
    folder = _output_root() / "data" / "phantom"
    if (folder / "phantom.json").is_file():
        return []
    return [_python("-m", "spineseg", "data", "phantom", str(folder))]


def run_tests() -> int:
    """Test the library; returns the exit code. Two threads each would wait for each other."""
    return run(pytest_command(*IN_PARALLEL), OMP_NUM_THREADS="1")


def run_notebooks() -> int:
    """Validate the notebooks; what they write is thrown away. Returns the exit code."""
    root = _output_root()
    with tempfile.TemporaryDirectory() as folder:
        for name in ("results", "data", "cache", "runs"):
            (root / name).mkdir(exist_ok=True)
            make = shutil.copytree if name == "results" else link_folder
            make(root / name, Path(folder, name))
        variables = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1", "SPINESEG_ROOT": folder}
        return run(nbval_command(), **variables)


def link_folder(folder: Path, link: Path) -> None:
    """Windows lets not every user make symbolic links, but all of them junctions."""
    if sys.platform == "win32":
        import _winapi

        _winapi.CreateJunction(str(folder), str(link))
    else:
        link.symlink_to(folder)


def _output_root() -> Path:
    return Path(os.environ.get("SPINESEG_ROOT") or ROOT).resolve()


def pytest_command(*options: str) -> list[str]:
    return _python("-m", "pytest", *options)


def nbval_command() -> list[str]:
    notebooks = sorted(str(path) for path in (ROOT / "notebooks").glob("*.ipynb"))
    return pytest_command("--nbval", "--nbval-current-env", *IN_PARALLEL, *notebooks)


def lab_command() -> list[str]:
    """JupyterLab in ROOT, so that links to results, figures and docs work; it opens the start."""
    start = ROOT / "notebooks" / "00_start.ipynb"
    return _python("-m", "jupyterlab", "--notebook-dir", str(ROOT), str(start))


def course_command() -> list[str]:
    return _python(str(ROOT / "tools" / "make_course.py"))


def path_with_venv() -> str:
    """The search path with the programs of .venv first, for terminals in JupyterLab."""
    return os.pathsep.join([str(in_venv("python").parent), os.environ.get("PATH", "")])


def _predict(options: argparse.Namespace) -> int:
    if not (options.scan and options.mask):
        print(
            "say which scan and where to write its mask: python make.py predict SCAN MASK, "
            "or make predict SCAN=in.nii.gz MASK=out.nii.gz",
            file=sys.stderr,
        )
        return EXIT_WRONG_USAGE
    return prepare() or run(predict_command(options.scan, options.mask))


def predict_command(scan: str, mask: str) -> list[str]:
    return _python("-m", "spineseg", "predict", _absolute(scan), _absolute(mask))


def lint_commands() -> list[list[str]]:
    return [
        _python("-m", "ruff", "check", "."),
        _python("-m", "ruff", "format", "--check", "."),
        _python("-m", "mypy"),
        [str(in_venv("lint-imports"))],
    ]


def in_venv(name: str, windows: bool = os.name == "nt") -> Path:
    """A program of .venv."""
    return VENV / "Scripts" / f"{name}.exe" if windows else VENV / "bin" / name


def count_cores() -> int:
    """The number of cores to use; .venv need not exist."""
    sys.path.insert(0, str(ROOT / "lib"))
    from spineseg.utils.processes import count_cores

    return count_cores()


def _python(*arguments: str) -> list[str]:
    return [str(in_venv("python")), *arguments]


def _absolute(path: str) -> str:
    """Commands run in ROOT, whatever the caller's folder is."""
    return os.path.abspath(os.path.expanduser(path))


def _path(data: str) -> str:
    return _absolute(data) if data and not SIMULATED.fullmatch(data) else data


def _profile_path(profile: str) -> str:
    return _absolute(profile) if profile.endswith(".yaml") else profile or PROFILE


def _uri(path: str) -> str:
    """The path in letters that YAML, Snakemake and a cluster's shells leave as they are."""
    return Path(_absolute(path)).as_uri()


def run_all(commands: Sequence[list[str]], **variables: str) -> int:
    """Run commands one after another until one fails; returns the last exit code."""
    return next((code for command in commands if (code := run(command, **variables))), 0)


def run(command: list[str], **variables: str) -> int:
    """Run a command in ROOT and return its exit code. Ctrl-C reaches the command by itself."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(**variables))
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue


def run_watched(command: list[str], *words: bytes, **variables: str) -> tuple[int, list[int]]:
    """Run a command as `run` does; returns its exit code and on how many lines of its
    stderr each of `words` is."""
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(**variables), stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    counts, rest = [0] * len(words), b""
    while True:
        try:
            chunk = os.read(process.stderr.fileno(), 1 << 16)
        except KeyboardInterrupt:
            continue
        sys.stderr.buffer.write(chunk)
        sys.stderr.flush()
        *lines, rest = (rest + (chunk or b"\n")).split(b"\n")
        counts = [
            n + sum(word in line for line in lines) for n, word in zip(counts, words, strict=True)
        ]
        if not chunk:
            return process.wait(), counts


def environment(**variables: str) -> dict[str, str]:
    """This process's environment, without what makes .venv use packages and kernels of others.

    Installed packages are not compiled, so compiling stays allowed. The library is that of this
    folder, also if .venv is a copy or a link.
    """
    dropped = {"PYTHONDONTWRITEBYTECODE", "PYTHONPATH", "PYTHONHOME"}
    kept = {name: text for name, text in os.environ.items() if name not in dropped}
    kernels = [str(VENV / "share" / "jupyter"), kept.get("JUPYTER_PATH", "")]
    jupyter_path = os.pathsep.join(filter(None, kernels))
    kept |= {"JUPYTER_PLATFORM_DIRS": "1", "JUPYTER_PATH": jupyter_path}
    if kept.get("SPINESEG_ROOT"):
        kept["SPINESEG_ROOT"] = str(_output_root())
    return {**kept, "PYTHONPATH": str(ROOT / "lib"), **variables}


if __name__ == "__main__":
    sys.exit(main())
