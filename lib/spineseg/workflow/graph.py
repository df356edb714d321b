"""What the Snakefile's rules are made of: inputs, outputs, commands and resources."""

import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.request import url2pathname

import yaml
from filelock import FileLock, Timeout

from spineseg import fingerprint
from spineseg.benchmark import TABLES, table_file
from spineseg.data.prepare import scan_files
from spineseg.evaluation.result_files import (
    AUDIT,
    COMPARISON,
    CONVEXITY,
    COST,
    FAILURES,
    NOISE_CURVES,
    RUNS,
    SUMMARY,
    TABLE2,
    TABLE3,
    TABLE4,
    VERDICTS,
)
from spineseg.experiment import PATIENTS, Experiment
from spineseg.profiles import load_profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.locks import acquire, new_lock
from spineseg.workflow.gather import GATHERED
from spineseg.workflow.prepare import SPLIT, folds_to_run
from spineseg.workflow.tables import DERIVED
from spineseg.workflow.train import DEADLINE, known_models, starts_from_phantom

TEXTS = ("data", "profile", "models")  # the values of `config` that are no numbers
FILLED_IN = ("--model", "{wildcards.model}", "--threads", "{threads}")
LONGEST_FIRST = ("deeplabv3", "aspp_unet_wide", "aspp_unet_noise", "nnunet", "aspp_unet", "unet3d")


@dataclass(frozen=True)
class Notebook:
    """What a notebook reads of results/, what it writes there, and its figures."""

    reads: Sequence[str] = ()
    writes: Sequence[str] = ()
    figures: Sequence[str] = ()


VALIDATED = (*GATHERED, SUMMARY.name)  # what `results_of` reads
NOTEBOOKS = {
    "01_data_exploration": Notebook(
        writes=["shapes.csv", "measured.csv", "slice.npz"],
        figures=["fig1a", "intensities", "class_sizes"],
    ),
    "02_preprocessing": Notebook(writes=["preprocessing.csv", "fig1.npz"], figures=["fig1"]),
    "03_network": Notebook(
        writes=["network.csv", "receptive_field.npz", "receptive_field.csv"],
        figures=["fig2", "fig3", "fig4", "receptive_field"],
    ),
    "04_training": Notebook(VALIDATED, figures=["training", "scores", "examples"]),
    "05_ablation": Notebook([*VALIDATED, TABLE2.name], figures=["ablation"]),
    "06_baselines": Notebook(
        [*VALIDATED, TABLE3.name, COMPARISON.name, FAILURES.name], figures=["fig7", "comparison"]
    ),
    "07_noise": Notebook([*VALIDATED, NOISE_CURVES.name], figures=["fig5", "fig6", "noise"]),
    "08_cost": Notebook([COST.name, TABLE4.name], figures=["cost"]),
    "09_figures": Notebook([*VALIDATED, "fig1.npz"], figures=["fig8", "fig9"]),
    "10_audit": Notebook([AUDIT.name, CONVEXITY.name, VERDICTS.name], figures=["convexity"]),
    "11_speed": Notebook(
        [RUNS, *(str(table_file(name)) for name in TABLES)], figures=["speed", "growth"]
    ),
}


class Graph:
    """The steps of one experiment, as the Snakefile's `config` asks for them.

    `arguments` are those of `--config`, as the shell gave them. Raises UserError for unknown ones,
    and for values and paths that Snakemake would change.
    """

    def __init__(
        self, config: Mapping[str, Any], repository: Path, arguments: Sequence[str] = ()
    ) -> None:
        self.repository = repository
        _require_as_written(config, arguments)
        profile = _local(str(config.get("profile") or "quick"))
        self.profile = str(Path(profile).resolve()) if profile.endswith(".yaml") else profile
        self.models = known_models(str(config.get("models") or "").split())
        self.experiment = Experiment.of(_local(str(config.get("data") or "")), self.profile)
        self.phantom = self.experiment.phantom
        if "minutes" in config:  # a job of a cluster reads the Snakefile again
            os.environ.setdefault(DEADLINE, str(time.time() + 60 * _minutes(config["minutes"])))
        for path in (self.profile, str(self.experiment.data), str(repository), str(paths.root())):
            if set("{}") & set(path):
                raise UserError.at(path, "Snakemake takes no path with braces", "rename it")

    @property
    def uses_phantom(self) -> bool:
        return self.experiment == self.phantom

    @cached_property
    def folds(self) -> list[int]:
        """The folds to run. The phantom, which may not exist yet, has a known size."""
        if self.uses_phantom:
            return self.experiment.profile.folds_to_run(PATIENTS)
        return folds_to_run(self.experiment)

    # --- files

    @property
    def phantom_file(self) -> str:
        return f"{self.phantom.data}/phantom.json"

    @property
    def scans(self) -> list[str]:
        if self.experiment.is_simulated:
            return []
        if self.uses_phantom:
            return [self.phantom_file]
        return [str(file) for file in scan_files(self.experiment)]

    @property
    def split(self) -> str:
        return f"{self.experiment.runs}/{SPLIT}"

    @property
    def run(self) -> str:
        return f"{self.experiment.runs}/{{model}}-fold-{{fold}}"

    @property
    def phantom_run(self) -> str:
        return f"{self.phantom.runs}/{{model}}-fold-all/run.json"

    @property
    def gathered(self) -> list[str]:
        return self.results(GATHERED)

    @property
    def cost(self) -> str:
        return f"{self.experiment.results}/{COST.name}"

    @property
    def tables(self) -> list[str]:
        return self.results([table.name for table in DERIVED])

    def results(self, names: Sequence[str]) -> list[str]:
        return [str(self.experiment.results / name) for name in names]

    def figures(self, names: Sequence[str]) -> list[str]:
        folder = self.experiment.figures
        return [f"{folder}/{name}.{suffix}" for name in names for suffix in ("png", "svg")]

    def pretrained(self, wildcards: Any) -> list[str]:
        """The run on the phantom that a run starts from, if any."""
        if not starts_from_phantom(self.experiment, wildcards.model):
            return []
        return [self.phantom_run.format(model=wildcards.model)]

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
        profile = ["--profile", self.profile]
        return spineseg_line("train", *profile, "--fold", "all", *FILLED_IN)

    def notebook_command(self, source: str, target: str) -> str:
        data = "" if self.uses_phantom else str(self.experiment.data)
        command = [sys.executable, "-m", "papermill", "--cwd", f"{self.repository}/notebooks"]
        command += ["-p", "data", data, "-p", "profile", self.profile, source, target]
        return shell_line(command)

    # --- what makes a step run again

    def training(self, wildcards: Any) -> list[Any]:
        """What a run depends on besides its scans."""
        model = wildcards.model
        return [fingerprint.training_code(model), self.experiment.profile.training_settings(model)]

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
        """Start long runs first, to balance the cores."""
        if wildcards.model not in LONGEST_FIRST:
            return 0
        return len(LONGEST_FIRST) - LONGEST_FIRST.index(wildcards.model)


def _require_as_written(config: Mapping[str, Any], arguments: Sequence[str]) -> None:
    """Snakemake reads values as YAML: `2024_05_01` as a number, ` #2` as a comment."""
    for name, _, text in (argument.partition("=") for argument in arguments):
        written = text.strip(" '\"")
        if name in TEXTS and str(config.get(name) or "") != written:
            what = f"Snakemake reads {config.get(name)!r}"
            remedy = f"give it to `make reproduce` or `python make.py reproduce --{name}`"
            raise UserError.at(f"{name}={written}", what, remedy)


def _local(value: str) -> str:
    """The path of a file URI, as make.py writes them; other values as they are."""
    return url2pathname(value.removeprefix("file://")) if value.startswith("file:///") else value


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


def shell_line(command: Sequence[str]) -> str:
    """A command as the system's shell takes it."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)


def count_gpus() -> int:
    """The number of Nvidia GPUs to use: the visible ones, or all that the driver lists."""
    if os.environ.get("SPINESEG_DEVICE", "cuda") != "cuda" or not shutil.which("nvidia-smi"):
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
