"""make.py and the Makefile: which commands they run, for POSIX and Windows. Nothing is built."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st
from snakemake.cli import parse_config

from spineseg import experiment
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow.graph import Graph, _local

USER_COMMANDS = ("setup", "reproduce", "figures", "test", "lab", "course", "site", "predict")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make", REPOSITORY / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = _load()
needs_make = pytest.mark.skipif(
    os.name == "nt" or shutil.which("make") is None, reason="needs make and a POSIX shell"
)


@pytest.fixture
def commands(monkeypatch) -> list[list[str]]:
    """The commands that would be run, in order, in an environment that is ready."""
    seen: list[list[str]] = []
    monkeypatch.setattr(make, "prepare", lambda: 0)
    monkeypatch.setattr(make, "run", lambda command, **_: seen.append(command) or 0)
    monkeypatch.setattr(
        make, "run_watched", lambda command, *_, **__: (seen.append(command) or 0, (0, 0))
    )
    monkeypatch.setattr(make, "pip_variables", dict)
    monkeypatch.setattr(make, "count_cores", lambda: 3)
    return seen


@pytest.fixture
def unbuilt(monkeypatch, tmp_path) -> list[list[str]]:
    """A project without .venv; the list takes the commands that would build it."""
    for name in make.PINS:
        (tmp_path / name).write_text("one\n")
    monkeypatch.setattr(make, "ROOT", tmp_path)
    monkeypatch.setattr(make, "VENV", tmp_path / ".venv")
    monkeypatch.setattr(make, "STAMP", tmp_path / ".venv" / "ready")
    seen: list[list[str]] = []

    def run(command: list[str], **_: str) -> int:
        make.in_venv("python").parent.mkdir(parents=True, exist_ok=True)
        make.in_venv("python").touch()
        seen.append(command)
        return 0

    monkeypatch.setattr(make, "run", run)
    monkeypatch.setattr(make, "pip_variables", dict)
    return seen


def test_programs_of_the_environment_are_found_on_both_kinds_of_system():
    assert make.in_venv("python", windows=False) == make.VENV / "bin" / "python"
    assert make.in_venv("python", windows=True) == make.VENV / "Scripts" / "python.exe"


def test_help_lists_every_command(capsys):
    assert make.main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"\n  {name} " in listed for name in (*USER_COMMANDS, "lint"))


def test_the_environment_is_built_once_and_again_when_a_pin_changes(unbuilt):
    assert make.prepare() == 0
    assert [command[1:3] for command in unbuilt] == [["-m", "venv"], ["-m", "pip"], ["-m", "pip"]]
    assert "--clear" in unbuilt[0]
    assert unbuilt[1][-2:] == ["--requirement", "requirements.lock"]
    unbuilt.clear()
    assert make.prepare() == 0
    assert unbuilt == []
    (make.ROOT / "pyproject.toml").write_text("two\n")
    assert make.prepare() == 0
    assert len(unbuilt) == 3


def test_the_environment_is_built_again_if_its_python_is_gone(unbuilt):
    assert make.prepare() == 0
    make.in_venv("python").unlink()
    make.in_venv("python").symlink_to("of-a-version-that-was-removed")
    unbuilt.clear()
    make.prepare()
    assert len(unbuilt) == 3


@pytest.mark.skipif(os.name == "nt", reason="not every user can make links there")
def test_an_environment_of_another_clone_is_used_and_never_emptied(unbuilt, tmp_path):
    other = tmp_path / "other" / "bin"
    other.mkdir(parents=True)
    (other / "python").touch()
    make.VENV.symlink_to(other.parent)
    assert make.prepare() == 0
    assert unbuilt == []
    (other / "python").unlink()
    with pytest.raises(SystemExit, match=r"\.venv is a link to no environment: remove it"):
        make.prepare()
    assert unbuilt == []


@pytest.mark.parametrize("failing", ["venv", "--requirement", "--editable"])
def test_a_failed_installation_is_tried_again(failing, unbuilt, monkeypatch):
    run = make.run
    monkeypatch.setattr(make, "run", lambda command, **_: run(command) or 7 * (failing in command))
    assert make.prepare() == 7
    assert failing in unbuilt[-1]
    assert not make.STAMP.exists()


def test_a_new_environment_says_that_nnunet_is_gone(unbuilt, capsys):
    assert make.prepare() == 0
    assert "nnU-Net" not in capsys.readouterr().out
    (make.VENV / "lib" / "python3.12" / "site-packages" / "nnunetv2").mkdir(parents=True)
    (make.ROOT / make.PINS[0]).write_text("two\n")
    assert make.prepare() == 0
    assert "`make nnunet` installs it again" in capsys.readouterr().out


def test_the_environment_is_kept_if_it_runs_make_itself(unbuilt, monkeypatch):
    monkeypatch.setattr(sys, "prefix", str(make.VENV))
    assert make.prepare() == 0
    assert not any("venv" in command for command in unbuilt)


def test_pip_is_told_where_packages_are_and_nothing_of_where_a_user_wants_them(
    monkeypatch, tmp_path
):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.test/simple\nextra-index-url =\n  https://b.test\n"
        "  https://c.test\ntimeout = 5\nuser = true\ntarget = /somewhere\n"
        "[install]\nprefix = /elsewhere\nfind-links = /wheels\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    for name in ("PIP_USER", "PIP_REQUIRE_VIRTUALENV", "PIP_NO_DEPS", "PIP_DRY_RUN"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("PIP_TIMEOUT", "60")
    monkeypatch.setattr(make, "in_venv", lambda _: sys.executable)
    variables = make.pip_variables()
    set_ones = {name: text for name, text in variables.items() if text}
    wanted = {
        "PIP_INDEX_URL": "https://a.test/simple",
        "PIP_EXTRA_INDEX_URL": "https://b.test https://c.test",
        "PIP_FIND_LINKS": "/wheels",
        "PIP_TIMEOUT": "60",
        "PIP_CONFIG_FILE": os.devnull,
    }
    assert set_ones.items() >= wanted.items()
    assert not {"PIP_TARGET", "PIP_PREFIX"} & set(set_ones)
    assert variables["PIP_USER"] == variables["PIP_DRY_RUN"] == variables["PIP_NO_DEPS"] == ""


def test_pip_sees_no_setting_of_the_user_that_is_not_kept(monkeypatch, tmp_path):
    (tmp_path / "pip.conf").write_text("[global]\nuser = true\ntarget = /x\nretries = 7\n")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_USER", "1")
    monkeypatch.setattr(make, "in_venv", lambda _: sys.executable)
    program = (
        "from pip._internal.commands import create_command as c; options, _ = c('install')"
        ".parse_args(['x']); print(options.use_user_site, options.target_dir, options.retries)"
    )
    environment = make.environment(**make.pip_variables())
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert printed.split() == ["None", "None", "7"]


@pytest.mark.parametrize(
    ("version", "can_build", "words"),
    [
        ((3, 9), True, "Python 3.11 or newer is needed"),
        ((3, 11), False, "sudo apt install python3.11-venv"),
    ],
)
def test_a_python_that_cannot_build_it_is_refused_in_one_line(version, can_build, words):
    line = make.refusal(version, can_build)
    assert words in line
    assert "\n" not in line
    assert make.refusal((3, 12), True) == ""


@pytest.mark.parametrize("missing", ["venv", "ensurepip"])
def test_setup_names_the_missing_package(missing, unbuilt, monkeypatch):
    monkeypatch.setattr(make, "find_spec", lambda name: None if name == missing else name)
    with pytest.raises(SystemExit, match="cannot make virtual environments"):
        make.main(["setup"])
    assert unbuilt == []


def config_of(command: list[str]) -> dict[str, object]:
    """The values as Snakemake understands them."""
    return parse_config(command[command.index("--config") + 1 :])


def test_reproduce_hands_the_graph_to_snakemake(commands, capsys):
    assert make.main(["reproduce"]) == 0
    estimate, command = commands
    assert estimate[2:] == ["spineseg", "estimate", "--data=", "--profile=laptop", "--runs="]
    assert command[:3] == [str(make.in_venv("python")), "-m", "snakemake"]
    assert command[3:8] == ["--cores", "3", "--quiet", "rules", "--rerun-incomplete"]
    assert command[8] == "--config"
    assert config_of(command) == {"data": "", "profile": "laptop", "models": "", "runs": ""}
    assert capsys.readouterr().out == "everything took 0 min 00 s\n"


def test_reproduce_passes_its_options_on(commands, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "scans", "--profile", "own.yaml", "--models", "unet", "aspp_unet"]
    assert make.main(["reproduce", *options, "--minutes", "8", "--cores", "5"]) == 0
    estimate, command = commands
    assert estimate[4:6] == [f"--data={tmp_path / 'scans'}", f"--profile={tmp_path / 'own.yaml'}"]
    assert estimate[6:] == ["--runs=", "--models", "unet", "aspp_unet"]
    assert "--keep-going" in command
    assert command[3:5] == ["--cores", "5"]
    assert config_of(command) == {
        "data": (tmp_path / "scans").as_uri(),
        "profile": (tmp_path / "own.yaml").as_uri(),
        "models": "unet aspp_unet",
        "runs": "",
        "minutes": 8,
    }


def test_everything_on_the_phantom_is_the_study(commands, monkeypatch):
    """Then the graph trains nothing."""
    assert make.main(["reproduce", "--runs", "all", "--minutes", "30"]) == 0
    study, graph = commands
    assert study[2:] == ["spineseg", "study", "--minutes", "30"]
    assert config_of(graph)["runs"] == "none"
    commands.clear()
    monkeypatch.setattr(make, "run", lambda command, **_: commands.append(command) or 3)
    assert make.main(["reproduce", "--runs=all"]) == 3
    assert len(commands) == 1


def test_everything_on_other_data_is_left_to_the_graph(commands):
    assert make.main(["reproduce", "--runs", "all", "--data", "scans"]) == 0
    estimate, graph = commands
    assert "--runs=all" in estimate
    assert config_of(graph)["runs"] == "all"


def test_what_cannot_be_estimated_is_not_begun(commands, monkeypatch):
    monkeypatch.setattr(make, "run", lambda command, **_: commands.append(command) or 1)
    assert make.main(["reproduce", "--profile", "none"]) == 1
    assert len(commands) == 1


def test_stored_results_are_copied_to_another_root_once(commands, monkeypatch, tmp_path):
    monkeypatch.setattr(make, "ROOT", tmp_path / "repository")
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path / "root"))
    folders = [root / "results" / "a" for root in (make.ROOT, tmp_path / "root")]
    folders[0].mkdir(parents=True)
    for text in ("stored", "changed"):
        (folders[0] / "scores.csv").write_text(text)
        assert make.main(["figures"]) == 0
        assert (folders[1] / "scores.csv").read_text() == "stored"


def test_stray_files_do_not_hide_the_stored_results(monkeypatch, tmp_path):
    monkeypatch.setattr(make, "ROOT", tmp_path / "repository")
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path / "root"))
    stored, own = (root / "results" / "a" for root in (make.ROOT, tmp_path / "root"))
    for folder, names in ((stored, ("scores.csv", "cost.csv")), (own, ("cost.csv", "own.txt"))):
        folder.mkdir(parents=True)
        for name in names:
            (folder / name).write_text(str(folder))
    make.copy_stored_results()
    texts = {path.name: path.read_text() for path in own.iterdir()}
    assert texts == {"scores.csv": str(stored), "cost.csv": str(stored), "own.txt": str(own)}
    assert [path.name for path in own.parent.iterdir()] == ["a"]


def test_nnunet_is_installed_without_make_too(commands, monkeypatch):
    monkeypatch.setattr(make, "install", lambda *options: commands.append(list(options)) or 0)
    assert make.main(["nnunet"]) == 0
    assert commands == [["--constraint", "requirements.lock", make.NNUNET]]


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("file:///scans/a%20b", "/scans/a b"),
        ("file://server/scans/a%20b", "//server/scans/a b"),  # a share of Windows
        ("scans/a%20b", "scans/a%20b"),
    ],
)
def test_a_file_uri_is_a_path(uri, path):
    assert Path(_local(uri)) == Path(path)


def test_figures_trains_nothing(commands):
    assert make.main(["figures", "--profile", "smoke"]) == 0
    (graph,) = commands
    assert config_of(graph) == {"data": "", "profile": "smoke", "models": "", "runs": "none"}


NAMES = [
    "2024_05_01",
    "2024-05-01",
    "007",
    "0x1F",
    "1e3",
    "true",
    "null",
    "nan",
    "spine #2",
    "a: b",
]
NAMES += ["[a]", "'quoted'", '"q"', " lead", "trail ", "$HOME", "`id`", "a,b=c", "--data", "größe"]
NAMES += ["脊椎", "a\\b", "%20", "*", "a\nb", "\u2028", "file:", "simulated-20000"]


def graph_of(command: list[str]) -> Graph:
    """The graph as the Snakefile makes it from the command."""
    arguments = command[command.index("--config") + 1 :]
    return Graph(parse_config(arguments), REPOSITORY, arguments)


@pytest.mark.parametrize("name", NAMES)
def test_the_folder_named_is_the_one_used_whatever_its_name(name, tmp_path, monkeypatch, workspace):
    """Snakemake reads values as YAML; on a cluster, shells read them too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Graph, "scans", [])
    (tmp_path / name).mkdir()
    command = make.reproduce_command(data=name, models=["unet"])
    assert graph_of(command).experiment.data == tmp_path / name
    assert not set("'\\$`") & set("".join(command))


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1))
def test_a_name_of_any_letters_reaches_the_graph(name):
    (data, *_) = make.reproduce_command(data=f"/scans/{name}")[-4:]
    assert _local(parse_config([data])["data"]) == os.path.abspath(f"/scans/{name}")


@pytest.mark.parametrize("name", ["own #1.yaml", "2024.yaml", "größe.yaml"])
def test_the_profile_named_is_the_one_used(name, tmp_path, monkeypatch, workspace):
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "profiles" / "smoke.yaml", name)
    graph = graph_of(make.reproduce_command(profile=name, models=["unet segnet"]))
    assert graph.profile == str(tmp_path / name)
    assert graph.models == ["unet", "segnet"]


@pytest.mark.parametrize("profile", ["007", "true", "a: b", "spine #2"])
def test_an_unknown_profile_is_named_as_it_was_written(profile, workspace):
    with pytest.raises(ValueError, match=f"^{profile}: no such profile"):
        graph_of(make.reproduce_command(profile=profile))


def test_simulated_patients_are_no_folder():
    for name in ("simulated", "simulated-20"):
        assert config_of(make.reproduce_command(data=name))["data"] == name


def test_a_data_set_without_a_folder_is_the_same_for_make_and_the_library():
    """make.py runs before the library is installed, so it has a pattern of its own."""
    assert make.SIMULATED.pattern == experiment.SIMULATED.pattern


def test_a_cluster_gets_its_plugin_and_its_profile(commands):
    assert make.main(["reproduce", "--cluster", "slurm"]) == 0
    install, graph = commands
    assert install[-1] == make.SLURM_PLUGIN
    assert graph[3:5] == ["--profile", "cluster/slurm"]
    assert "--cores" not in graph


def test_the_study_does_not_run_on_a_cluster(commands, capsys):
    assert make.main(["reproduce", "--runs", "all", "--cluster", "slurm"]) == 2
    assert "the study runs on one machine" in capsys.readouterr().err
    assert not commands


def test_minutes_are_those_of_one_machine(commands, capsys):
    assert make.main(["reproduce", "--cluster", "slurm", "--minutes", "5"]) == 2
    assert "leave the minutes out" in capsys.readouterr().err
    assert not commands


@pytest.mark.parametrize("given", [["--cores=0"], ["--cores=x"], ["--cores=2", "--cluster=slurm"]])
def test_cores_are_a_positive_number_of_one_machine(given, commands, capsys):
    with pytest.raises(SystemExit):
        make.main(["reproduce", *given])
    assert "error: argument --" in capsys.readouterr().err
    assert commands == []


@pytest.mark.parametrize(
    ("said", "code", "lines"),
    [
        (["run: time is up", "RuleException:"], 3, ["the time is up", "resumes"]),
        (["RuleException:", "run: damaged"], 1, []),
        (["run: time is up", *["RuleException:"] * 2], 1, []),
        (["run: time is up"], 1, []),
    ],
)
def test_one_line_says_that_the_time_is_up(said, code, lines, monkeypatch, capfd):
    program = f"import sys; print(*{said!r}, sep='\\n', file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(make, "prepare", lambda: 0)
    monkeypatch.setattr(make, "estimate_command", lambda *_: [sys.executable, "-c", ""])
    monkeypatch.setattr(make, "reproduce_command", lambda *_: [sys.executable, "-c", program])
    assert make.main(["reproduce", "--minutes", "8"]) == code
    printed = capfd.readouterr()
    assert printed.err.splitlines() == said
    assert printed.out.count("\n") == bool(lines)
    assert all(words in printed.out for words in lines)


def test_snakemake_says_of_each_failed_job_what_is_counted(tmp_path):
    """A rule that fails for lack of time, and one that fails otherwise."""
    words = {"late": "time is up", "damaged": "damaged"}
    rules = []
    for name, said in words.items():
        program = tmp_path / f"{name}.py"
        program.write_text(f"import sys; sys.exit('{said}')")
        shell = f"{sys.executable} {program.as_posix()}"
        rules.append(f"rule {name}:\n    output: '{name}.txt'\n    shell: {shell!r}\n")
    first = "rule all:\n    input: 'late.txt', 'damaged.txt'\n"
    (tmp_path / "Snakefile").write_text("\n".join([first, *rules]))
    _, module, snakemake, *options = make.reproduce_command(cores=1, minutes=1)
    where = ["--snakefile", str(tmp_path / "Snakefile"), "--directory", str(tmp_path)]
    command = [sys.executable, module, snakemake, *where, *options]
    code, counts = make.run_watched(command, make.TIME_IS_UP, make.FAILED)
    assert code == 1
    assert counts == [1, 2]


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_minutes_are_a_positive_number(minutes, capsys):
    with pytest.raises(SystemExit):
        make.main(["reproduce", f"--minutes={minutes}"])


@pytest.mark.parametrize("made", [False, True])
def test_test_makes_a_missing_phantom_then_runs_pytest_and_nbval(
    made, commands, monkeypatch, workspace
):
    phantom = workspace / "data" / "phantom"
    if made:
        phantom.mkdir(parents=True)
        (phantom / "phantom.json").touch()
    assert make.main(["test"]) == 0
    *simulate, library, notebooks = commands
    assert [command[-1] for command in simulate] == [] if made else [str(phantom)]
    assert library[1:] == ["-m", "pytest", *make.IN_PARALLEL]
    assert notebooks[3:5] == ["--nbval", "--nbval-current-env"]
    names = [Path(name).name for name in notebooks if name.endswith(".ipynb")]
    assert names == sorted(path.name for path in (REPOSITORY / "notebooks").glob("*.ipynb"))


def test_what_tested_notebooks_write_is_thrown_away(monkeypatch, workspace):
    """They see data, caches, runs and results, and change no result or figure."""
    program = """
import os, pathlib
root = pathlib.Path(os.environ["SPINESEG_ROOT"])
for name in ("data", "cache", "runs", "results"):
    assert (root / name / "kept").read_text() == name
for name in ("results", "figures"):
    (root / name).mkdir(exist_ok=True)
    (root / name / "kept").write_text("changed")
"""
    for name in ("data", "cache", "runs", "results"):
        (workspace / name).mkdir()
        (workspace / name / "kept").write_text(name)
    monkeypatch.setattr(make, "nbval_command", lambda: [sys.executable, "-c", program])
    assert make.run_notebooks() == 0
    kept = {str(p.relative_to(workspace)): p.read_text() for p in workspace.rglob("kept")}
    assert kept == {f"{name}/kept": name for name in ("data", "cache", "runs", "results")}


def test_lab_opens_the_start_page_and_reaches_all_folders(commands):
    """Lessons link to results, figures and docs, which are beside the folder of the notebooks."""
    assert make.main(["lab"]) == 0
    (command,) = commands
    assert command[1:4] == ["-m", "jupyterlab", "--notebook-dir"]
    root, start = map(Path, command[4:])
    assert root == REPOSITORY
    assert start == root / "notebooks" / "00_start.ipynb"
    assert start.is_file()


def test_course_runs_the_tool_that_writes_it(commands):
    assert make.main(["course"]) == 0
    (command,) = commands
    assert Path(command[1]) == REPOSITORY / "tools" / "make_course.py"
    assert Path(command[1]).is_file()


def test_predict_takes_a_scan_and_a_mask(commands, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert make.main(["predict", "in.nii.gz", "out.nii.gz"]) == 0
    (command,) = commands
    assert command[1:4] == ["-m", "spineseg", "predict"]
    assert command[4:] == [str(tmp_path / "in.nii.gz"), str(tmp_path / "out.nii.gz")]


@pytest.mark.parametrize("given", [[], ["in.nii.gz"], ["", ""]])
def test_predict_without_a_scan_or_a_mask_says_how(given, commands, capsys):
    assert make.main(["predict", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "make predict SCAN=in.nii.gz MASK=out.nii.gz" in line
    assert commands == []


def test_lint_stops_at_the_first_fault(commands, monkeypatch):
    assert make.main(["lint"]) == 0
    tools = [
        command[2] if command[1:2] == ["-m"] else Path(command[0]).stem for command in commands
    ]
    assert tools == ["ruff", "ruff", "mypy", "lint-imports"]
    monkeypatch.setattr(make, "run", lambda command: commands.append(command) or 3)
    commands.clear()
    assert make.main(["lint"]) == 3
    assert len(commands) == 1


@pytest.mark.parametrize("name", ["PYTHONDONTWRITEBYTECODE", "PYTHONHOME"])
def test_commands_compile_what_they_import_and_import_what_was_installed(name, monkeypatch):
    monkeypatch.setenv(name, "1")
    variables = make.environment(TQDM_DISABLE="1")
    assert name not in variables
    assert (variables["JUPYTER_PLATFORM_DIRS"], variables["TQDM_DISABLE"]) == ("1", "1")


def test_commands_use_the_library_beside_make_and_one_root(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPINESEG_ROOT", "out")
    variables = make.environment()
    assert variables["PYTHONPATH"] == str(REPOSITORY / "lib")
    assert variables["SPINESEG_ROOT"] == str(tmp_path / "out")


def test_an_interrupted_copy_of_the_stored_results_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path))
    copytree, calls = shutil.copytree, []

    def stop_at_the_second(source, target):
        calls.append(target)
        if len(calls) == 2:
            Path(target).mkdir()
            raise KeyboardInterrupt
        return copytree(source, target)

    monkeypatch.setattr(shutil, "copytree", stop_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        make.copy_stored_results()
    monkeypatch.setattr(shutil, "copytree", copytree)
    make.copy_stored_results()
    stored = {path.parent.name for path in (REPOSITORY / "results").glob("*/scores.csv")}
    assert {path.name for path in (tmp_path / "results").iterdir()} == stored
    assert {path.parent.name for path in (tmp_path / "results").glob("*/scores.csv")} == stored


def test_another_kernel_of_the_same_name_is_found_later(other_kernel, monkeypatch):
    monkeypatch.setattr(make, "VENV", Path(sys.prefix))
    program = "from jupyter_client import kernelspec as k; print(k.find_kernel_specs()['python3'])"
    command = [sys.executable, "-c", program]
    assert Path(subprocess.check_output(command, text=True).strip()) == other_kernel
    found = subprocess.check_output(command, env=make.environment(), text=True).strip()
    assert Path(found) == Path(sys.prefix, "share", "jupyter", "kernels", "python3")


@pytest.fixture
def other_kernel(tmp_path, monkeypatch) -> Path:
    """A kernel called python3 of another Python, which Jupyter finds first."""
    folder = tmp_path / "kernels" / "python3"
    folder.mkdir(parents=True)
    spec = {"argv": ["/usr/bin/other-python", "{connection_file}"], "display_name": "Python 3"}
    (folder / "kernel.json").write_text(json.dumps({**spec, "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    return folder


def test_a_command_runs_in_the_repository_and_its_exit_code_counts(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = f"import os, sys; sys.exit(4 if os.getcwd() == {os.fspath(make.ROOT)!r} else 5)"
    assert make.run([sys.executable, "-c", code]) == 4


@needs_make
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (["setup"], "python3 make.py setup"),
        (["test"], "python3 make.py test"),
        (["lab"], "python3 make.py lab"),
        (["course"], "python3 make.py course"),
        (["lint"], "python3 make.py lint"),
        (["reproduce"], "python3 make.py reproduce"),
        (
            ["reproduce", "DATA=a b", "PROFILE=smoke", "MODELS=unet segnet", "MINUTES=8"],
            "python3 make.py reproduce --data=a b --profile=smoke --models unet segnet --minutes=8",
        ),
        (["reproduce", "RUNS=all"], "python3 make.py reproduce --runs=all"),
        (["figures"], "python3 make.py figures"),
        (
            ["figures", "DATA=a b", "PROFILE=smoke"],
            "python3 make.py figures --data=a b --profile=smoke",
        ),
        (["reproduce", "CORES=2"], "python3 make.py reproduce --cores=2"),
        (["reproduce", "CLUSTER=slurm"], "python3 make.py reproduce --cluster=slurm"),
        (["predict", "SCAN=a", "MASK=b"], "python3 make.py predict -- a b"),
    ],
)
def test_make_hands_the_targets_for_users_to_make_py(target, expected):
    planned = _make("--dry-run", *target).splitlines()[-1].strip()
    values = dict(argument.split("=") for argument in target[1:])
    for name, value in values.items():
        planned = planned.replace(f'"${name}"', value)
    assert planned == expected


@needs_make
@pytest.mark.parametrize("name", ["\"q\" 's'", "$HOME $(x) `id`", "-x #2;", "a\\b  c", "*"])
def test_make_passes_any_name_on(name, tmp_path):
    echo = tmp_path / "echo.py"
    echo.write_text("import sys; print(sys.argv[1:])")
    python = f"{sys.executable} {echo} ignored"
    (printed,) = _make("reproduce", f"DATA={name}", python=python).splitlines()
    assert ast.literal_eval(printed)[-1] == f"--data={name}"


def test_the_site_is_built_with_pinned_packages(commands):
    assert make.main(["site"]) == 0
    installed, built = commands
    assert installed[-3:] == list(make.SITE)
    assert installed[installed.index("--constraint") + 1] == "requirements.lock"
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pin) for pin in (*make.SITE, make.BROWSER))
    assert built[1:] == ["-m", "tools.website"]


def test_the_site_takes_notebooks_from_a_folder_of_the_caller(commands, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert make.main(["site", "--notebooks", "own"]) == 0
    assert commands[-1][-2:] == ["--notebooks", str(tmp_path / "own")]


@needs_make
def test_make_alone_lists_the_targets_for_users_first():
    users, developers = _make().split("for developers")
    assert [line.split()[0] for line in users.splitlines() if line] == list(USER_COMMANDS)
    assert "lint" in developers


def _make(*arguments: str, python: str = "python3") -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments, f"PYTHON={python}"],
        cwd=REPOSITORY,
        env={name: text for name, text in os.environ.items() if name != "MAKEFLAGS"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
