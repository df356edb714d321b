"""What each job of the graph asks for, and the profiles for clusters."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from jupyter_client.kernelspec import get_kernel_spec
from snakemake.api import SnakemakeApi
from snakemake.cli import get_argument_parser, parse_config
from snakemake.settings.types import (
    ConfigSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    WorkflowSettings,
)
from snakemake_interface_executor_plugins.settings import ExecMode

from spineseg.experiment import Experiment
from spineseg.methods import TABLE3_METHODS
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.utils.paths import PROFILES, REPOSITORY
from spineseg.workflow.gather import Run
from spineseg.workflow.graph import Graph, _require_as_written, use_own_kernel
from spineseg.workflow.notebooks import NOTEBOOKS

CLUSTER = REPOSITORY / "cluster"
JOBS = yaml.safe_load((CLUSTER / "jobs.yaml").read_text())


@pytest.fixture
def planned(phantom, workspace, monkeypatch) -> Callable[..., dict[str, dict[str, int]]]:
    """Plan an experiment of the mini phantom; returns what the jobs of each rule, or the trainings
    of each model, ask for: on one machine with `cores` cores or, with `mode="remote"`, on the node
    of a cluster."""
    monkeypatch.chdir(workspace)  # Snakemake goes there

    def plan(
        profile: str | Path,
        models: str,
        cores: int = 8,
        mode: str = "default",
        runs: str = "",
        data: str = str(phantom),
    ):
        with SnakemakeApi(OutputSettings(quiet={Quietness.ALL})) as snakemake:
            flow = snakemake.workflow(
                ResourceSettings(cores=cores),
                ConfigSettings(
                    config={
                        "data": data,
                        "profile": str(profile),
                        "models": models,
                        "runs": runs,
                    }
                ),
                workflow_settings=WorkflowSettings(exec_mode=ExecMode[mode.upper()]),
                snakefile=REPOSITORY / "Snakefile",
                workdir=workspace,
            )
            flow.dag().execute_workflow(executor="dryrun")
            jobs = list(flow._workflow.dag.jobs)
        return {
            f"{job.rule.name} {job.wildcards.get('model', '')}".strip(): {
                "threads": job.threads,
                **{key: job.resources[key] for key in ("mem_mb", "runtime", "gpu")},
            }
            for job in jobs
            if job.rule.name != "all"
        }

    return plan


@pytest.mark.parametrize("profile", JOBS)
def test_each_job_of_a_cluster_asks_for_what_its_profile_says(profile, planned):
    jobs = planned(profile, "unet nnunet", mode="remote")
    rows = {name: "notebook" for name in jobs if name in NOTEBOOKS}
    rows["tables"] = "gather"
    for step in ("pretrain", "train"):
        rows |= {f"{step} unet": "train"}
        rows |= {f"{step} nnunet": "nnunet" if "nnunet" in JOBS[profile] else "train"}
    assert {"prepare", "train nnunet", "report", "cost", "01_data_exploration"} < set(jobs)
    pretrained = {name for name in jobs if name.startswith("pretrain")}
    assert pretrained == ({"pretrain unet", "pretrain nnunet"} if profile == "laptop" else set())
    for name, asked in jobs.items():
        assert asked == {"threads": 1} | JOBS[profile][rows.get(name, name)], name


def test_a_profile_of_ones_own_asks_for_what_one_with_images_as_large_does(planned, tmp_path):
    own = tmp_path / "own.yaml"
    text = (PROFILES / "smoke.yaml").read_text()
    own.write_text(re.sub(r"^image_size: .*", "image_size: 65", text, flags=re.M))
    jobs = planned(own, "unet", mode="remote")
    assert jobs["train unet"] == JOBS["laptop"]["train"] != JOBS["smoke"]["train"]


@pytest.mark.skipif(os.name == "nt", reason="the stand-in for nvidia-smi is a shell script")
@pytest.mark.parametrize(("gpus", "cores", "threads"), [(0, 4, 2), (0, 1, 1), (1, 4, 4), (2, 4, 2)])
def test_on_one_machine_runs_share_the_cores_and_each_has_a_gpu_of_its_own(
    gpus, cores, threads, planned, tmp_path, monkeypatch
):
    if gpus:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo GPU {n}: any\n" for n in range(gpus)))
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    jobs = planned("smoke", "unet aspp_unet", cores)
    assert jobs["train unet"]["threads"] == jobs["train aspp_unet"]["threads"] == threads
    assert jobs["prepare"]["threads"] == jobs["cost"]["threads"] == cores
    assert jobs["report"]["threads"] == 1


def test_each_profile_has_its_jobs_and_each_job_its_numbers():
    sharing = {
        "paper-adamw",
        "bundled",
        "laptop-220",
        "laptop-sgd",
        "patients",
        "patients-220",
        "patients-320",
        "patients-scratch",
    }  # ask for what a profile with images as large does
    assert set(JOBS) == {path.stem for path in PROFILES.glob("*.yaml")} - sharing
    for profile, rows in JOBS.items():
        assert set(rows) - {"nnunet"} == set(JOBS["smoke"])
        for name, row in rows.items():
            assert {"mem_mb", "runtime", "gpu"} <= set(row) <= {"threads", *row}, (profile, name)
            assert all(type(number) is int and number >= 0 for number in row.values())
            assert min(row["mem_mb"], row["runtime"], row.get("threads", 1)) > 0


def test_the_documented_table_is_the_one_in_force():
    table = re.findall(
        r"^\| (\w+): .*? \| (.+?) \| (.+?) \| (.+?) \|$",
        (REPOSITORY / "docs" / "cluster.md").read_text(),
        flags=re.M,
    )
    assert {row[0] for row in table} == set(JOBS["paper"])
    for name, *cells in table:
        for profile, cell in zip(("smoke", "laptop", "paper"), cells, strict=True):
            row = JOBS[profile].get(name)
            gpus = f", {row['gpu']} GPU" if row and row["gpu"] else ""
            said = row and (
                f"{row.get('threads', 1)}, {row['mem_mb'] // 1000} GB, {row['runtime']} min{gpus}"
            )
            assert cell == (said or "as train"), (name, profile)


@pytest.mark.parametrize(
    "file", sorted(CLUSTER.glob("*/config.yaml")), ids=lambda file: file.parent.name
)
def test_a_cluster_profile_says_only_what_snakemake_knows(file):
    profile = yaml.safe_load(file.read_text())
    known = {
        option for action in get_argument_parser()._actions for option in action.option_strings
    }
    plugin = profile["executor"]
    unknown = {f"--{key}" for key in profile if not key.startswith(plugin)} - known
    assert not unknown
    assert profile["retries"] == 2, "docs/cluster.md says so"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("data=2024_05_01", "20240501"),
        ("data=spine #2", "'spine'"),
        ("data=a: b", "{'a': 'b'}"),
        ("data=007", "7"),
        ("data=", None),
        ("data=/spine 2", None),
        ("data='/spine'", None),
        ("profile=1e3", "1000.0"),
        ("models=unet #segnet", "'unet'"),
        ("minutes=8.50", None),
    ],
)
def test_a_value_that_snakemake_changes_is_refused(written, read):
    config = parse_config([written])
    if read is None:
        _require_as_written(config, [written])
        return
    with pytest.raises(UserError, match=f"Snakemake reads {re.escape(read)}; give it to `make"):
        _require_as_written(config, [written])


def test_a_folder_with_braces_is_refused_in_one_line(workspace):
    (workspace / "{x}").mkdir()
    with pytest.raises(UserError, match="braces; rename it") as error:
        Graph({"data": str(workspace / "{x}"), "profile": "smoke"}, REPOSITORY)
    assert "\n" not in str(error.value)


def test_notebooks_run_with_the_python_that_runs_the_graph(tmp_path, monkeypatch):
    spec = {"argv": ["/usr/bin/python3", "-c", "{connection_file}"], "display_name": "another"}
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text(json.dumps({**spec, "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert get_kernel_spec("python3").argv[0] == "/usr/bin/python3"
    use_own_kernel()
    assert get_kernel_spec("python3").resource_dir.startswith(sys.prefix)


def test_the_drawing_in_the_docs_is_that_of_the_snakefile(tmp_path):
    command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile"]
    command += ["--directory", tmp_path, "--rulegraph", "mermaid-js"]
    command += ["--config", "profile=smoke"]
    environment = {**os.environ, "SPINESEG_ROOT": str(tmp_path)}
    graph = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    page = (REPOSITORY / "docs" / "graph.md").read_text(encoding="utf-8")
    drawn = re.search(r"```mermaid\n(.*?)```", page, re.DOTALL)
    assert drawn
    assert steps(drawn[1]) == steps(graph.stdout)
    assert {"phantom", "prepare", "train", "gather", "report"} <= {a for a, _ in steps(drawn[1])}


def steps(graph: str) -> set[tuple[str, str]]:
    """Each arrow of a Mermaid flowchart: from which step to which."""
    names = dict(re.findall(r"(id\d+)\[(\w+)\]", graph))
    return {(names[a], names[b]) for a, b in re.findall(r"(id\d+) --> (id\d+)", graph)}


@pytest.fixture
def stored(phantom, trained, workspace) -> Experiment:
    """An experiment whose stored results are said to hold two seeds."""
    shutil.copytree(trained / "results", workspace / "results")
    experiment = Experiment.of(phantom, "smoke")
    (run,) = read_json(experiment.results / "runs.json")
    write_json(experiment.results / "runs.json", [run, run | {"seed": 1}])
    (experiment.results / "cost.csv").write_text("model\nunet\n")
    return experiment


def graph_on(experiment: Experiment, **config: str) -> Graph:
    return Graph({"data": str(experiment.data), "profile": "smoke", **config}, REPOSITORY)


def test_without_stored_results_two_networks_are_trained_and_gathered(phantom, workspace):
    graph = graph_on(Experiment.of(phantom, "smoke"))
    assert graph.runs == [Run("unet", 0), Run("aspp_unet", 0)]
    assert (graph.gathers, graph.compares) == (True, False)
    assert "table4.csv" in {Path(file).name for file in graph.tables}
    assert "search.csv" not in {Path(file).name for file in graph.tables}


def test_all_runs_are_those_of_table_3_on_all_folds(phantom, workspace):
    graph = graph_on(Experiment.of(phantom, "smoke"), runs="all")
    assert graph.folds == [0, 1, 2, 3, 4]
    assert set(graph.models) | {"nnunet"} == set(TABLE3_METHODS)
    with pytest.raises(UserError, match="runs=some: not known; choose all or none"):
        graph_on(Experiment.of(phantom, "smoke"), runs="some")


def test_new_runs_are_compared_with_stored_ones_which_stay(stored, planned):
    graph = graph_on(stored, models="segnet aspp_unet")
    assert graph.runs == [Run("segnet", 0), Run("aspp_unet", 0)]
    assert (graph.gathers, graph.compares) == (False, True)
    assert graph.compared == str(stored.runs / "reproduced.csv")
    assert graph.compared not in graph.sources_of_tables  # tables do not wait for the training
    jobs = planned("smoke", "")
    assert {"train unet", "train aspp_unet", "compare", "tables"} <= set(jobs)
    assert not {"gather", "cost"} & set(jobs)
    (stored.results / "cost.csv").unlink()
    assert "cost" in planned("smoke", "")
    with pytest.raises(UserError, match="holds runs of several seeds, which are not to be"):
        graph_on(stored, runs="all")


def test_figures_alone_train_nothing(stored, planned):
    jobs = planned("smoke", "", runs="none")
    assert {"prepare", "tables", "06_baselines", "report"} <= set(jobs)
    assert not {"train unet", "compare", "gather", "cost"} & set(jobs)
    shutil.rmtree(stored.results)
    with pytest.raises(UserError, match="no results yet; run `make reproduce`"):
        graph_on(stored, runs="none")


def test_tables_of_the_study_are_made_together(trained, planned):
    default = Experiment.of(None, "laptop")
    other = Experiment.of("simulated", "laptop")
    for experiment in (default, other):
        shutil.copytree(trained / "results" / "phantom-mini-smoke", experiment.results)
    graph = Graph({"runs": "none"}, REPOSITORY)
    assert list(graph.other_experiments) == [other.name]
    tables = graph.other_tables(other.name)
    assert f"{other.results}/table3.csv" in tables
    assert f"{other.results}/table4.csv" not in tables  # no cost.csv is stored
    command = graph.other_tables_command(other.name)
    assert command.endswith("-m spineseg tables --data simulated --profile laptop")
    assert "tables_of_simulated_laptop" in planned("laptop", "", runs="none", data="")


def test_unknown_settings_are_refused():
    with pytest.raises(UserError, match=r"^--config model: no such setting; choose from data, "):
        Graph({"model": "segnet"}, REPOSITORY)


def test_simulated_patients_have_no_scans_for_the_notebooks(workspace):
    remedy = "run `spineseg reproduce --data simulated-6 --profile smoke`"
    with pytest.raises(UserError, match=f"^simulated-6: has no scans for the notebooks; {remedy}"):
        Graph({"data": "simulated-6", "profile": "smoke"}, REPOSITORY)


def test_stored_results_of_simulated_patients_are_not_to_be_replaced(monkeypatch):
    monkeypatch.delenv("SPINESEG_ROOT", raising=False)
    remedy = "run `spineseg tables --data simulated --profile laptop`"
    with pytest.raises(UserError, match=f"^simulated: has no scans for the notebooks; {remedy}"):
        Graph({"data": "simulated", "profile": "laptop"}, REPOSITORY)


@pytest.fixture
def graph_of_patients(phantom, workspace) -> Callable[..., Graph]:
    """The graph of `patients` with other settings."""

    def make(**settings: float) -> Graph:
        profile = yaml.safe_load((PROFILES / "patients.yaml").read_text())
        (workspace / "mine.yaml").write_text(yaml.safe_dump(profile | settings))
        return Graph({"data": str(phantom), "profile": str(workspace / "mine.yaml")}, REPOSITORY)

    return make


def test_weights_to_start_from_depend_on_the_simulated_scans(graph_of_patients):
    def steps(**settings: float) -> list:
        return graph_of_patients(**settings).simulated_cache()

    assert steps() == steps(epochs=7)
    assert steps() != steps(image_size=176)
    assert steps() != steps(split_seed=1)


def test_weights_to_start_from_depend_on_the_epochs_that_made_them(graph_of_patients):
    def pretraining(**settings: float) -> list:
        return graph_of_patients(**settings).pretraining(SimpleNamespace(model="nnunet"))

    assert pretraining() == pretraining(finetune_epochs=15)
    assert pretraining() != pretraining(nnunet_epochs=7)
