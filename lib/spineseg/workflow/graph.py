"""What the Snakefile's rules are made of: inputs, outputs, commands and resources."""

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import yaml
from filelock import FileLock, Timeout

from spineseg import fingerprint
from spineseg.data.prepare import scan_files
from spineseg.evaluation.result_files import COST, RUNS, SCORES
from spineseg.experiment import ALL, PATIENTS, PHANTOM_RECORD, Experiment
from spineseg.methods import TABLE3_METHODS, runnable
from spineseg.profiles import load_profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.locks import acquire, new_lock
from spineseg.utils.processes import shell_line
from spineseg.workflow.compare import REPRODUCTION
from spineseg.workflow.gather import GATHERED, Run, has_seeds, require_replaceable
from spineseg.workflow.notebooks import Notebook
from spineseg.workflow.prepare import SPLIT, folds_to_run
from spineseg.workflow.study import CROSS_VALIDATED
from spineseg.workflow.study_results import stored_beside
from spineseg.workflow.tables import DERIVED, derivable, stored_tables
from spineseg.workflow.train import DEADLINE, chosen_models

TEXTS = ("data", "profile", "models", "runs")  # the settings in `config` that are no numbers
SETTINGS = (*TEXTS, "minutes")
FILLED_IN = ("--model", "{wildcards.model}", "--seed", "{wildcards.seed}", "--threads", "{threads}")
LONGEST_FIRST = ("deeplabv3", "aspp_unet_wide", "aspp_unet_noise", "nnunet", "aspp_unet", "unet3d")
DEFAULT, ALL_RUNS, NO_RUNS = "", "all", "none"  # the values of `runs`
# The files in results/ that tables are computed from.
SOURCES_OF_TABLES = {source.name for derived in DERIVED.values() for source in derived.all_sources}


class Graph:
    """The steps of one experiment, as the Snakefile's `config` asks for them.

    If results/ holds the study's runs of this experiment, the graph trains each method once, on
    fold 0 and with seed 0, and compares these runs with the stored ones; all tables, figures and
    notebooks are made from the stored scores. Otherwise it trains the methods on the folds of the
    profile and gathers their scores. `runs=all` trains and gathers all methods of Table 3 on all
    folds. `runs=none` trains nothing.

    `arguments` are those of `--config`, as the shell gave them. Raises UserError for unknown ones,
    for values and paths that Snakemake would change, and for simulated patients, which have no
    scans.
    """

    def __init__(
        self, config: Mapping[str, Any], repository: Path, arguments: Sequence[str] = ()
    ) -> None:
        self.repository = repository
        _require_known(config)
        _require_as_written(config, arguments)
        profile = _local(str(config.get("profile") or "laptop"))
        self.profile = str(Path(profile).resolve()) if profile.endswith(".yaml") else profile
        self.wanted = _wanted_runs(str(config.get("runs") or DEFAULT))
        self.models = self._chosen(str(config.get("models") or "").split())
        self.experiment = Experiment.of(_local(str(config.get("data") or "")), self.profile)
        self.phantom = self.experiment.phantom
        if self.experiment.is_simulated:
            data = self.experiment.data
            known = not self.trains or has_seeds(self.experiment)  # not to be replaced
            step = "tables" if known else "reproduce"
            command = f"spineseg {step} --data {data} --profile {profile}"
            raise UserError.at(data, "has no scans for the notebooks", f"run `{command}`")
        if "minutes" in config:  # a job of a cluster reads the Snakefile again
            os.environ.setdefault(DEADLINE, str(time.time() + 60 * _minutes(config["minutes"])))
        for path in (self.profile, str(self.experiment.data), str(repository), str(paths.root())):
            if set("{}") & set(path):
                raise UserError.at(path, "Snakemake takes no path with braces", "rename it")
        if not self.trains and not (self.experiment.results / RUNS).is_file():
            raise UserError.at(self.experiment.results, "no results yet", "run `make reproduce`")
        if self.gathers:
            require_replaceable(self.experiment)

    def _chosen(self, names: Sequence[str]) -> list[str]:
        """The methods to train."""
        if names or self.wanted != ALL_RUNS:
            return chosen_models(names or CROSS_VALIDATED)
        return [name for name in runnable() if name in TABLE3_METHODS]

    @property
    def uses_phantom(self) -> bool:
        return self.experiment == self.phantom

    @property
    def trains(self) -> bool:
        return self.wanted != NO_RUNS

    @cached_property
    def compares(self) -> bool:
        """Whether new runs are compared with stored ones, not gathered."""
        return self.wanted == DEFAULT and has_seeds(self.experiment)

    @property
    def gathers(self) -> bool:
        return self.trains and not self.compares

    @cached_property
    def folds(self) -> list[int]:
        """The folds to run. The phantom, which may not exist yet, has a known size."""
        if self.compares:
            return [0]
        if self.wanted == ALL_RUNS:
            return list(range(self.experiment.profile.folds))
        if self.uses_phantom:
            return self.experiment.profile.folds_to_run(PATIENTS)
        return folds_to_run(self.experiment)

    @property
    def measures_cost(self) -> bool:
        """Whether the cost of the networks is measured here; a stored one is kept otherwise."""
        return self.gathers or not Path(self.cost).is_file()

    @property
    def runs(self) -> list[Run]:
        return [Run(model, fold) for model in self.models for fold in self.folds]

    # --- files

    @property
    def phantom_file(self) -> str:
        return f"{self.phantom.data}/{PHANTOM_RECORD}"

    @property
    def scans(self) -> list[str]:
        if self.uses_phantom:
            return [self.phantom_file]
        return [str(file) for file in scan_files(self.experiment)]

    @property
    def split(self) -> str:
        return f"{self.experiment.runs}/{SPLIT}"

    @property
    def run(self) -> str:
        return _pattern(self.experiment)

    @property
    def pretraining_run(self) -> str:
        return f"{_pattern(self.experiment.pretraining, ALL)}/run.json"

    @property
    def scored(self) -> list[str]:
        return [f"{self.experiment.run(*run)}/{SCORES.name}" for run in self.runs]

    @property
    def compared(self) -> str:
        return f"{self.experiment.runs}/{REPRODUCTION.name}"

    @property
    def gathered(self) -> list[str]:
        return self.results(GATHERED)

    @property
    def cost(self) -> str:
        return f"{self.experiment.results}/{COST.name}"

    @cached_property
    def _sources(self) -> list[str]:
        """The names of the files in results/ that tables are computed from."""
        if self.gathers:
            return [*GATHERED, COST.name]
        derived = {table.name for table in DERIVED}
        stored = {path.name for path in self.experiment.results.iterdir()}
        return sorted({*stored, COST.name} - derived)

    @property
    def sources_of_tables(self) -> list[str]:
        """What the tables are computed from, and what marks them as out of date in a clone.

        There, all committed files are as old as each other. Stored scores are tabulated, and the
        notebooks executed, beside the training of new runs.
        """
        sources = self.results([name for name in self._sources if name in SOURCES_OF_TABLES])
        return [*sources, self.split]

    @cached_property
    def derived(self) -> list[str]:
        """The names of the tables that are computed."""
        if self.gathers:
            tables = derivable(self._sources, self.models)
        else:
            tables = stored_tables(self.experiment, COST.name)
        return [table.name for table in tables]

    @property
    def tables(self) -> list[str]:
        return self.results(self.derived)

    @cached_property
    def other_experiments(self) -> dict[str, Experiment]:
        """The study's other experiments of which results are stored, by name.

        Their tables are computed together with those of the default experiment.
        """
        return {each.name: each for each in stored_beside(self.experiment)}

    def other_tables(self, name: str) -> list[str]:
        """The tables of another experiment of the study."""
        other = self.other_experiments[name]
        return [str(other.results / table.name) for table in stored_tables(other)]

    def read_by(self, notebook: Notebook) -> list[str]:
        """The files that a notebook reads, without tables that cannot be computed here."""
        absent = {table.name for table in DERIVED}.difference(self.derived)
        own = self.results([name for name in notebook.reads if name not in absent])
        stored = (paths.root() / "results" / name for name in notebook.stored)
        return [*own, *(str(path) for path in stored if path.is_file())]

    def results(self, names: Sequence[str]) -> list[str]:
        return [str(self.experiment.results / name) for name in names]

    def figures(self, names: Sequence[str]) -> list[str]:
        folder = self.experiment.figures
        return [f"{folder}/{name}.{suffix}" for name in names for suffix in ("png", "svg")]

    def pretrained(self, wildcards: Any) -> list[str]:
        """The run on simulated patients that a run starts from, if any."""
        if not self.experiment.starts_from_simulated:
            return []
        return [self.pretraining_run.format(model=wildcards.model, seed=wildcards.seed)]

    # --- commands

    def command(self, *arguments: str) -> str:
        """The command line of `spineseg ARGUMENTS` for this experiment."""
        of_experiment = ["--data", str(self.experiment.data), "--profile", self.profile]
        return spineseg_line(*arguments, *of_experiment)

    def phantom_command(self) -> str:
        return spineseg_line("data", "phantom", str(self.phantom.data), "--cases", str(PATIENTS))

    def train_command(self) -> str:
        """Snakemake fills in the braces."""
        return self.command("train", "--fold", "{wildcards.fold}", "--score", *FILLED_IN)

    def pretrain_command(self) -> str:
        of_experiment = ["--data", str(self.experiment.pretraining.data), "--profile", self.profile]
        return spineseg_line("train", *of_experiment, "--fold", ALL, *FILLED_IN)

    def command_on_runs(self, name: str) -> str:
        """`gather` or `compare`, on the runs of this graph."""
        folds = map(str, self.folds)
        return self.command(name, "--models", *self.models, "--folds", *folds)

    def other_tables_command(self, name: str) -> str:
        other = self.other_experiments[name]
        data, profile = str(other.data), other.profile.name
        return spineseg_line("tables", "--data", data, "--profile", profile)

    def notebook_command(self, source: str, target: str) -> str:
        data = "" if self.uses_phantom else str(self.experiment.data)
        command = [sys.executable, "-m", "papermill", "--cwd", f"{self.repository}/notebooks"]
        command += ["-p", "data", data, "-p", "profile", self.profile, "-p", "save", "True"]
        command += [source, target]
        return shell_line(command)

    # --- what makes a step run again

    def training(self, wildcards: Any) -> list[Any]:
        """What a run depends on besides its scans."""
        return _training(self.experiment, wildcards.model)

    def pretraining(self, wildcards: Any) -> list[Any]:
        """The same of the run on simulated patients that a run starts from."""
        return _training(self.experiment.pretraining, wildcards.model)

    def simulated_cache(self) -> list[Any]:
        """What the simulated scans depend on that runs on scans start from."""
        return [fingerprint.simulated_cache_code(), self.experiment.profile.cache_settings()]

    def notebook_code(self, name: str) -> str:
        return fingerprint.notebook_code(self.repository / "notebooks" / f"{name}.ipynb")

    # --- resources

    @cached_property
    def _jobs(self) -> dict[str, dict[str, int]]:
        """What the jobs of this profile ask a cluster for.

        A profile of your own gets the resources of the smallest built-in profile with images at
        least as large.
        """
        text = (self.repository / "cluster" / "jobs.yaml").read_text(encoding="utf-8")
        jobs = yaml.safe_load(text)
        size = self.experiment.profile.image_size
        fitting = (name for name in jobs if size <= load_profile(name).image_size)
        return jobs[next(fitting, "paper")]

    def _asked(self, job: str, wildcards: Any, what: str) -> int:
        """What jobs.yaml says of a job, or of its model if that has a line of its own."""
        entry = self._jobs.get(wildcards.get("model"), self._jobs[job])
        return entry.get(what, 1) if what == "threads" else entry[what]

    def threads(self, job: str, workflow: Any, parallel: int = 1) -> Callable[..., int]:
        """On a cluster, what the job asks for; on one machine, its share of the cores."""

        def count(wildcards: Any) -> int:
            if workflow.remote_exec or not workflow.local_exec:
                return self._asked(job, wildcards, "threads")
            return max(1, workflow.cores // parallel)

        return count

    def parallel_runs(self, folds: int) -> int:
        """Trainings at a time on one machine: one per GPU or, without a GPU, all.

        On a CPU one thread per run wastes less time than many.
        """
        runs = len(self.models) * folds
        return min(runs, gpus) if (gpus := count_gpus()) else runs

    def resources(self, job: str) -> dict[str, Callable[..., int]]:
        """A job that fails is retried with more memory and time."""
        return {
            "mem_mb": lambda wildcards, attempt: attempt * self._asked(job, wildcards, "mem_mb"),
            "runtime": lambda wildcards, attempt: attempt * self._asked(job, wildcards, "runtime"),
            "gpu": lambda wildcards: self._asked(job, wildcards, "gpu"),
        }

    def priority(self, wildcards: Any) -> int:
        """Start runs before other steps, and long ones first, to balance the cores."""
        if wildcards.model not in LONGEST_FIRST:
            return 1
        return 1 + len(LONGEST_FIRST) - LONGEST_FIRST.index(wildcards.model)


def _require_known(config: Mapping[str, Any]) -> None:
    if unknown := sorted(set(config) - set(SETTINGS)):
        remedy = f"choose from {', '.join(SETTINGS)}"
        raise UserError.at(f"--config {unknown[0]}", "no such setting", remedy)


def _require_as_written(config: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Snakemake reads values as YAML: `2024_05_01` as a number, ` #2` as a comment."""
    for name, _, text in (argument.partition("=") for argument in arguments):
        written = text.strip(" '\"")
        if name in TEXTS and str(config.get(name) or "") != written:
            what = f"Snakemake reads {config.get(name)!r}"
            remedy = f"give it to `make reproduce` or `python make.py reproduce --{name}`"
            raise UserError.at(f"{name}={written}", what, remedy)


def _wanted_runs(value: str) -> str:
    if value not in (known := (DEFAULT, ALL_RUNS, NO_RUNS)):
        remedy = f"choose {' or '.join(filter(None, known))}, or leave it out"
        raise UserError.at(f"runs={value}", "not known", remedy)
    return value


def _training(experiment: Experiment, model: str) -> list[Any]:
    settings = experiment.profile.tuned(model).training_settings(model)
    return [fingerprint.training_code(model), experiment.epochs(model), settings]


def _pattern(experiment: Experiment, fold: str = "{fold}") -> str:
    """The folder of a run, with wildcards."""
    return str(experiment.run("{model}", fold, "{seed}"))  # type: ignore[arg-type]


def _local(value: str) -> str:
    """The path of a file URI, as make.py writes them; other values as they are."""
    if value.startswith("file:///"):
        return url2pathname(value.removeprefix("file://"))
    return url2pathname(value.removeprefix("file:")) if value.startswith("file://") else value


def use_own_kernel() -> None:
    """Make Jupyter find the kernel of this Python before others of its name."""
    own = str(Path(sys.prefix, "share", "jupyter"))
    os.environ["JUPYTER_PATH"] = os.pathsep.join(
        [own, *filter(None, [os.environ.get("JUPYTER_PATH")])]
    )


def _minutes(value: Any) -> float:
    try:
        minutes = float(value)
    except (TypeError, ValueError):
        minutes = 0.0
    if not 0 < minutes < math.inf:
        raise UserError.at(f"minutes={value}", "not a positive number", "give one, such as 30")
    return minutes


def spineseg_line(*arguments: str) -> str:
    """The command line of `spineseg ARGUMENTS`."""
    return shell_line([sys.executable, "-m", "spineseg", *arguments])


def count_gpus() -> int:
    """The number of Nvidia GPUs to use: the visible ones, or all that the driver lists."""
    if (os.environ.get("SPINESEG_DEVICE") or "cuda") != "cuda" or not shutil.which("nvidia-smi"):
        return 0
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return len([gpu for gpu in visible.split(",") if gpu.strip() not in ("", "-1")])
    command = ["nvidia-smi", "-L"]
    listed = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    return sum(line.startswith("GPU ") for line in listed.stdout.splitlines())


_held: list[FileLock] = []  # until this process ends


def remove_stale_locks() -> None:
    """Remove the locks of a killed Snakemake, unless another one is running in this folder."""
    folder = Path(".snakemake")
    folder.mkdir(exist_ok=True)
    lock = new_lock(folder / "at-work")
    try:
        if not acquire(lock, wait=False):
            return
    except Timeout:
        return
    _held.append(lock)
    for stale in (folder / "locks").glob("*"):
        stale.unlink()
