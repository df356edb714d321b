"""The paper as a graph: scans -> cache -> runs -> scores -> tables, figures, executed notebooks.

    snakemake --cores all --config data=/path/to/scans profile=quick models="unet aspp_unet"

Without `data` the phantom is made and used; without `models` all methods are compared. What is
finished is not done again. Each step's `params` carry the knobs of the profile and a fingerprint of
the code that it rests on: where these change, that step and what follows from it are done again.
On a cluster each job asks for what cluster/jobs.yaml says.
"""

import fcntl
import os
import shlex
import shutil
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from spineseg import fingerprint
from spineseg import benchmark as bench
from spineseg.utils import paths
from spineseg.methods import METHODS, NNUNET, TABLE3, runnable
from spineseg.profiles import load_profile
from spineseg.experiment import Experiment

os.environ["SPINESEG_ROOT"] = str(paths.root())  # jobs run in other folders

# A killed Snakemake leaves its locks. Where no other is at work here, they bind nobody.
Path(".snakemake").mkdir(exist_ok=True)
at_work = open(".snakemake/at-work", "w")
try:
    fcntl.flock(at_work, fcntl.LOCK_EX | fcntl.LOCK_NB)
    for left in Path(".snakemake/locks").glob("*"):
        left.unlink()
except BlockingIOError:
    pass
fcntl.flock(at_work, fcntl.LOCK_SH)  # until this process ends

PHANTOM_CASES = 172

profile = str(config.get("profile", "quick"))
if profile.endswith(".yaml"):
    profile = str(Path(profile).resolve())
data = str(config.get("data") or "")
models = str(config.get("models") or "").split() or runnable()
if unknown := sorted(set(models) - set(METHODS)):
    raise WorkflowError(f"no such method: {', '.join(unknown)}; choose from {', '.join(METHODS)}")
if not set(models) & set(TABLE3):
    raise WorkflowError(f"{', '.join(models)}: add one of {', '.join(TABLE3)}")
try:
    experiment = Experiment.of(data, profile)
    phantom = experiment.phantom
    if experiment == phantom:
        scans = [f"{phantom.data}/phantom.json"]
        folds = experiment.profile.folds_to_run(PHANTOM_CASES)
    else:
        scans = [str(file) for file in experiment.files()]
        folds = experiment.folds_to_run()
except ValueError as error:
    raise WorkflowError(str(error)) from None

spineseg = f"{shlex.quote(sys.executable)} -m spineseg.cli"
of_profile = f"--profile {shlex.quote(profile)}"
of_experiment = f"--data {shlex.quote(str(experiment.data))} {of_profile}"
run = f"{experiment.runs}/{{model}}-fold-{{fold}}"


# A profile of one's own asks for what the smallest of ours that is no smaller does, or as full does.
JOBS = yaml.safe_load(Path(workflow.basedir, "cluster", "jobs.yaml").read_text())
sizes = {name: load_profile(name).image_size for name in JOBS}
asks = JOBS[next((name for name in JOBS if experiment.profile.image_size <= sizes[name]), "paper")]


def asked(job, wildcards, what):
    """What cluster/jobs.yaml says of a job, or of its model alone where that has its own line."""
    return asks.get(wildcards.get("model"), asks[job])[what]


def threads_of(job, time_interleaved=1):
    """On a cluster what the job asks for; on one machine the jobs side by side share its cores."""

    def threads(wildcards):
        if workflow.remote_exec or not workflow.local_exec:
            return asked(job, wildcards, "threads")
        return max(1, workflow.cores // time_interleaved)

    return threads


def resources_of(job):
    """More memory and time at each attempt: where either was short, a job fails and is retried."""
    return {
        "mem_mb": lambda wildcards, attempt: attempt * asked(job, wildcards, "mem_mb"),
        "runtime": lambda wildcards, attempt: attempt * asked(job, wildcards, "runtime"),
        "gpu": lambda wildcards: asked(job, wildcards, "gpu"),
    }


def runs_side_by_side(runs):
    """One thread a run wastes less than many. A machine's GPU is given to one run at a time."""
    return 1 if shutil.which("nvidia-smi") else runs


SLOWEST = ("deeplabv3", "aspp_unet_wide", "aspp_unet_noise", "nnunet", "aspp_unet", "unet3d")


def longest_first(wildcards):
    """Lest one core waits in the end for a long run on the other."""
    return len(SLOWEST) - SLOWEST.index(wildcards.model) if wildcards.model in SLOWEST else 0


def pretrained(wildcards):
    """nnU-Net always starts afresh, as it does by itself."""
    if not experiment.starts_from_phantom or wildcards.model == NNUNET:
        return []
    return f"{phantom.runs}/{wildcards.model}-fold-all/run.json"


def training(wildcards):
    """What a run rests on besides its scans."""
    model = wildcards.model
    return [fingerprint.of_training(model), experiment.profile.training_knobs(model)]


GATHERED = [
    *("runs.json", "scores.csv", "summary.csv", "failures.csv", "curves.csv", "examples.npz"),
    *("noise.csv", "noise.npz"),
]
# Each notebook: what it reads of results/, what it leaves there, and its figures.
NOTEBOOKS = {
    "01_data_exploration": (
        [],
        ["shapes.csv", "measured.csv", "slice.npz"],
        ["fig1a", "intensities", "class_sizes"],
    ),
    "02_preprocessing": ([], ["preprocessing.csv", "fig1.npz"], ["fig1"]),
    "03_network": (
        [],
        ["network.csv", "receptive_field.npz", "receptive_field.csv"],
        ["fig2", "fig3", "fig4", "receptive_field"],
    ),
    "04_training": (GATHERED, [], ["training", "scores", "examples"]),
    "05_ablation": (GATHERED, ["table2.csv"], ["ablation"]),
    "06_baselines": (GATHERED, ["table3.csv", "comparison.csv"], ["fig7", "comparison"]),
    "07_noise": (GATHERED, ["noise_curves.csv"], ["fig5", "fig6", "noise"]),
    "08_cost": (["cost.csv"], ["table4.csv"], ["cost"]),
    "09_figures": ([*GATHERED, "fig1.npz"], [], ["fig8", "fig9"]),
    "10_audit": (
        [*GATHERED, "cost.csv"],
        ["audit.csv", "audit_convexity.csv", "claims.csv"],
        ["convexity"],
    ),
    "11_speed": (
        ["runs.json", *(str(bench.table_file(name)) for name in bench.TABLES)],
        [],
        ["speed", "growth"],
    ),
}


def results(names):
    return [str(experiment.results / name) for name in names]


def figures(names):
    return [f"{experiment.figures}/{name}.{suffix}" for name in names for suffix in ("png", "svg")]


rule all:
    input:
        f"{experiment.runs}/report.html",


rule phantom:
    output:
        update(f"{phantom.data}/phantom.json"),
    params:
        code=fingerprint.of_phantom(),
    threads: threads_of("phantom")
    resources: **resources_of("phantom")
    shell:
        f"{spineseg} data phantom {shlex.quote(str(phantom.data))} --cases {PHANTOM_CASES}"


if experiment.starts_from_phantom:

    rule pretrain:
        input:
            f"{phantom.data}/phantom.json",
        output:
            f"{phantom.runs}/{{model}}-fold-all/run.json",
        params:
            training,
        threads: threads_of("train", runs_side_by_side(len(models)))
        resources: **resources_of("train")
        shell:
            f"OMP_NUM_THREADS={{threads}} {spineseg} train {of_profile} "
            "--model {wildcards.model} --fold all"


rule prepare:
    input:
        scans,
    output:
        update(f"{experiment.runs}/split.json"),
    params:
        code=fingerprint.of_cache(),
        knobs=experiment.profile.cache_knobs(),
    threads: threads_of("prepare")
    resources: **resources_of("prepare")
    shell:
        f"{spineseg} data prepare {of_experiment}"


rule train:
    input:
        f"{experiment.runs}/split.json",
        pretrained,
    output:
        f"{run}/run.json",
        f"{run}/scores.csv",
    params:
        training=training,
        scoring=lambda wildcards: fingerprint.of_scoring(wildcards.model),
    threads: threads_of("train", runs_side_by_side(len(models) * len(folds)))
    priority: longest_first
    resources: **resources_of("train")
    shell:
        f"OMP_NUM_THREADS={{threads}} {spineseg} train {of_experiment} --score "
        "--model {wildcards.model} --fold {wildcards.fold}"


rule gather:
    input:
        expand(f"{run}/scores.csv", model=models, fold=folds),
    output:
        results(GATHERED),
    params:
        code=fingerprint.of_results("spineseg.workflow.gather"),
    resources: **resources_of("gather")
    shell:
        f"{spineseg} gather {of_experiment} --models {' '.join(models)}"


rule cost:
    input:
        f"{experiment.runs}/split.json",  # a clone's results are those of another machine
    output:
        results(["cost.csv"]),
    params:
        code=fingerprint.of_results("spineseg.benchmark.cost"),
        rows=experiment.profile.benchmark_rows,
    threads: threads_of("cost")
    resources: **resources_of("cost")
    shell:
        f"{spineseg} cost {of_experiment}"


for name, (reads, writes, draws) in NOTEBOOKS.items():

    rule:
        name:
            name
        input:
            f"{experiment.runs}/split.json",
            results(reads),
            notebook=ancient(f"{workflow.basedir}/notebooks/{name}.ipynb"),
        output:
            results(writes),
            figures(draws),
            notebook=f"{experiment.runs}/notebooks/{name}.ipynb",
        params:
            data=shlex.quote("" if experiment == phantom else str(experiment.data)),
            profile=shlex.quote(profile),
            code=fingerprint.of_results(f"{workflow.basedir}/notebooks/{name}.ipynb"),
        resources: **resources_of("notebook")
        shell:
            f"{shlex.quote(sys.executable)} -m papermill --cwd {shlex.quote(workflow.basedir)}/notebooks "
            "-p data {params.data} -p profile {params.profile} {input.notebook:q} {output.notebook:q}"


rule report:
    input:
        expand(f"{experiment.runs}/notebooks/{{name}}.ipynb", name=NOTEBOOKS),
    output:
        f"{experiment.runs}/report.html",
        f"{experiment.results}/times.csv",
        update(f"{experiment.results}/provenance.json"),  # keeps where unchanged files come from
    params:
        code=fingerprint.of_results("spineseg.workflow.report"),
    resources: **resources_of("report")
    shell:
        f"{spineseg} report {of_experiment}"
