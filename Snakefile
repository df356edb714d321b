"""The paper as a graph: scans -> cache -> runs -> scores -> tables, figures, notebooks, report.

    snakemake --cores all --config data=/path/to/scans profile=laptop models="unet aspp_unet"

Without `data` the phantom is made and used. Without `models`, U-Net-2D and ASPP-UNet are trained.
What is trained and what is stored, `spineseg.workflow.graph.Graph` says. Finished steps are not
repeated. Each step's `params` hold the settings and a fingerprint of the code that it depends on:
if they change, that step and those that depend on it run again. On a cluster each job asks for what
cluster/jobs.yaml says.
"""

import os
from dataclasses import asdict
from pathlib import Path

from snakemake.exceptions import WorkflowError

from spineseg import fingerprint
from spineseg.utils import paths
from spineseg.workflow.graph import Graph, remove_stale_locks, use_own_kernel
from spineseg.workflow.notebooks import NOTEBOOKS

os.environ["SPINESEG_ROOT"] = str(paths.root())  # jobs run in other folders
use_own_kernel()
remove_stale_locks()
try:
    arguments = workflow.config_settings.config_args or ()
    graph = Graph(config, Path(workflow.basedir), arguments)
    scans, folds = graph.scans, graph.folds
except ValueError as error:
    raise WorkflowError(str(error)) from None

experiment = graph.experiment


rule all:  # names what may be missing beside a finished report: Snakemake makes only that again
    input:
        f"{experiment.runs}/report.html",
        expand(f"{experiment.runs}/notebooks/{{name}}.ipynb", name=NOTEBOOKS),
        [graph.results(notebook.writes) for notebook in NOTEBOOKS.values()],
        [graph.figures(notebook.figures) for notebook in NOTEBOOKS.values()],


rule phantom:
    output:
        update(graph.phantom_file),
    params:
        code=fingerprint.phantom_code(),
    threads: graph.threads("phantom", workflow)
    resources: **graph.resources("phantom")
    shell:
        graph.phantom_command()


rule prepare:
    input:
        scans,
    output:
        update(graph.split),
    params:
        code=fingerprint.cache_code(),
        settings=experiment.profile.cache_settings(),
    threads: graph.threads("prepare", workflow)
    resources: **graph.resources("prepare")
    shell:
        graph.command("data", "prepare")


if graph.trains:

    if experiment.starts_from_simulated:

        rule pretrain:
            output:
                graph.pretraining_run,
            params:
                training=graph.pretraining,
                cache=graph.simulated_cache(),
            threads: graph.threads("train", workflow, graph.parallel_runs(1))
            resources: **graph.resources("train")
            shell:
                graph.pretrain_command()

    rule train:
        input:
            graph.split,
            graph.pretrained,
        output:
            f"{graph.run}/run.json",
            f"{graph.run}/scores.csv",
            f"{graph.run}/confusion.csv",
        params:
            training=graph.training,
            scoring=lambda wildcards: fingerprint.scoring_code(wildcards.model),
        threads: graph.threads("train", workflow, graph.parallel_runs(len(folds)))
        priority: graph.priority
        resources: **graph.resources("train")
        shell:
            graph.train_command()


if graph.compares:

    rule compare:
        input:
            graph.scored,
            graph.results(["scores.csv"]),
        output:
            graph.compared,
        params:
            code=fingerprint.compare_code(),
        resources: **graph.resources("gather")
        shell:
            graph.command_on_runs("compare")


if graph.gathers:

    rule gather:
        input:
            graph.scored,
        output:
            graph.gathered,
        params:
            code=fingerprint.gather_code(),
        resources: **graph.resources("gather")
        shell:
            graph.command_on_runs("gather")


if graph.measures_cost:

    rule cost:
        input:
            graph.split,  # in a clone, the committed costs are those of another machine
        output:
            graph.cost,
        params:
            code=fingerprint.cost_code(),
            rows=experiment.profile.benchmark_rows,
        threads: graph.threads("cost", workflow)
        resources: **graph.resources("cost")
        shell:
            graph.command("cost")


rule tables:
    input:
        graph.sources_of_tables,
    output:
        graph.tables,
    params:
        code=fingerprint.tables_code(),
    priority: 1  # the longest notebook waits for them
    resources: **graph.resources("gather")
    shell:
        graph.command("tables")


for name in graph.other_experiments:

    rule:
        name:
            f"tables_of_{name}".replace("-", "_")
        input:
            graph.split,
        output:
            graph.other_tables(name),
        params:
            code=fingerprint.tables_code(),
            command=graph.other_tables_command(name),
        resources: **graph.resources("gather")
        shell:
            "{params.command}"  # an expression here would see the last one of the loop


for name, notebook in NOTEBOOKS.items():
    source = f"{workflow.basedir}/notebooks/{name}.ipynb"
    target = f"{experiment.runs}/notebooks/{name}.ipynb"

    rule:
        name:
            name
        input:
            graph.split,
            graph.read_by(notebook),
            notebook=ancient(source),
        output:
            graph.results(notebook.writes),
            graph.figures(notebook.figures),
            notebook=target,
        params:
            code=graph.notebook_code(name),
            settings=asdict(experiment.profile),
            command=graph.notebook_command(source, target),
        priority: notebook.priority
        resources: **graph.resources("notebook")
        shell:
            "{params.command}"


rule report:
    input:
        [graph.compared] if graph.compares else [],
        [graph.other_tables(name) for name in graph.other_experiments],
        expand(f"{experiment.runs}/notebooks/{{name}}.ipynb", name=NOTEBOOKS),
    output:
        f"{experiment.runs}/report.html",
        f"{experiment.results}/times.csv",
        update(f"{experiment.results}/provenance.json"),  # keeps the entries of unchanged files
    params:
        code=fingerprint.report_code(),
    resources: **graph.resources("report")
    shell:
        graph.command("report")
