"""The paper as a graph: scans -> cache -> runs -> scores -> tables, figures, executed notebooks.

    snakemake --cores all --config data=/path/to/scans profile=quick

Without `data` the phantom is made and used. What is finished is not done again.
"""

import os
import shlex
import shutil
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from spineseg import paths
from spineseg.study import Study

os.environ["SPINESEG_ROOT"] = str(paths.root())  # jobs run in other folders
PHANTOM_CASES = 172
MODELS = ["aspp_unet"]

profile = str(config.get("profile", "quick"))
if profile.endswith(".yaml"):
    profile = str(Path(profile).resolve())
data = str(config.get("data") or "")
try:
    study = Study.of(data, profile)
    phantom = study.phantom
    if study == phantom:
        scans = [f"{phantom.data}/phantom.json"]
        folds = study.profile.folds_to_run(PHANTOM_CASES)
    else:
        scans = [str(file) for file in study.files()]
        folds = study.folds_to_run()
except ValueError as error:
    raise WorkflowError(str(error)) from None

# Folds train side by side where there are several: one thread a run wastes less than many.
# A GPU is given to one run at a time.
threads_a_run = workflow.cores if shutil.which("nvidia-smi") else max(1, workflow.cores // len(folds))
spineseg = f"{shlex.quote(sys.executable)} -m spineseg.cli"
of_profile = f"--profile {shlex.quote(profile)}"
of_study = f"--data {shlex.quote(str(study.data))} {of_profile}"
run = f"{study.runs}/{{model}}-fold-{{fold}}"
pretrained = f"{phantom.runs}/{{model}}-fold-all/run.json"

# Each notebook: what it reads of results/, what it leaves there, and its figures.
NOTEBOOKS = {
    "01_data_exploration": (
        [],
        ["shapes.csv", "measured.csv", "slice.npz"],
        ["fig1a", "intensities", "class_sizes"],
    ),
    "02_preprocessing": ([], ["preprocessing.csv"], ["fig1"]),
    "03_network": (
        [],
        ["network.csv", "receptive_field.npz", "receptive_field.csv"],
        ["fig2", "fig3", "fig4", "receptive_field"],
    ),
    "04_training": (
        ["scores.csv", "summary.csv", "curves.csv", "examples.npz"],
        ["table3.csv"],
        ["fig8_9", "scores", "examples"],
    ),
}


def results(names):
    return [f"{study.results}/{name}" for name in names]


def figures(names):
    return [f"{study.figures}/{name}.{suffix}" for name in names for suffix in ("png", "svg")]


rule all:
    input:
        expand(f"{study.runs}/notebooks/{{name}}.ipynb", name=NOTEBOOKS),


rule phantom:
    output:
        f"{phantom.data}/phantom.json",
    threads: workflow.cores
    shell:
        f"{spineseg} data phantom {shlex.quote(str(phantom.data))} --cases {PHANTOM_CASES}"


if study.starts_from_phantom:

    rule pretrain:
        input:
            f"{phantom.data}/phantom.json",
        output:
            pretrained,
        threads: workflow.cores
        shell:
            f"OMP_NUM_THREADS={{threads}} {spineseg} train {of_profile} "
            "--model {wildcards.model} --fold all"


rule prepare:
    input:
        scans,
    output:
        f"{study.runs}/split.json",
    threads: workflow.cores
    shell:
        f"{spineseg} data prepare {of_study}"


rule train:
    input:
        f"{study.runs}/split.json",
        pretrained if study.starts_from_phantom else [],
    output:
        f"{run}/run.json",
    threads: threads_a_run
    shell:
        "OMP_NUM_THREADS={threads} "
        f"{spineseg} train {of_study} --model {{wildcards.model}} --fold {{wildcards.fold}}"


rule score:
    input:
        f"{run}/run.json",
    output:
        f"{run}/scores.csv",
        f"{run}/examples.npz",
    threads: threads_a_run
    shell:
        f"OMP_NUM_THREADS={{threads}} {spineseg} evaluate \"$(dirname {{input:q}})\""


rule report:
    input:
        expand(f"{run}/scores.csv", model=MODELS, fold=folds),
    output:
        results(["scores.csv", "summary.csv", "curves.csv", "runs.json", "examples.npz"]),
    shell:
        f"{spineseg} report {of_study}"


for name, (reads, writes, draws) in NOTEBOOKS.items():

    rule:
        name:
            name
        input:
            f"{study.runs}/split.json",
            results(reads),
            notebook=f"{workflow.basedir}/notebooks/{name}.ipynb",
        output:
            results(writes),
            figures(draws),
            notebook=f"{study.runs}/notebooks/{name}.ipynb",
        params:
            data=shlex.quote("" if study == phantom else str(study.data)),
            profile=shlex.quote(profile),
        shell:
            f"{shlex.quote(sys.executable)} -m papermill --cwd {shlex.quote(workflow.basedir)}/notebooks "
            "-p data {params.data} -p profile {params.profile} {input.notebook:q} {output.notebook:q}"
