"""make.py and the Makefile: which commands they run, for POSIX and Windows. Nothing is built."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from snakemake.cli import parse_config

from spineseg.utils.paths import REPOSITORY

USER_COMMANDS = ("setup", "reproduce", "test", "lab", "predict")


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
    monkeypatch.setattr(make, "run_watched", lambda command, _: (seen.append(command) or 0, False))
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

    def run(command: list[str]) -> int:
        make.VENV.mkdir(exist_ok=True)
        seen.append(command)
        return 0

    monkeypatch.setattr(make, "run", run)
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
    assert unbuilt[1][-1] == str(make.ROOT / "requirements.lock")
    unbuilt.clear()
    assert make.prepare() == 0
    assert unbuilt == []
    (make.ROOT / "pyproject.toml").write_text("two\n")
    assert make.prepare() == 0
    assert len(unbuilt) == 3


def test_a_failed_installation_is_tried_again(unbuilt, monkeypatch):
    monkeypatch.setattr(make, "run", lambda command: 7)
    assert make.prepare() == 7
    assert not make.STAMP.exists()


def test_the_environment_is_kept_if_it_runs_make_itself():
    assert "--clear" in make.setup_commands()[0]
    assert not any("venv" in command for command in make.setup_commands(inside=True))


@pytest.mark.parametrize(
    ("version", "has_ensurepip", "words"),
    [
        ((3, 9), True, "Python 3.11 or newer is needed"),
        ((3, 11), False, "sudo apt install python3-venv"),
    ],
)
def test_a_python_that_cannot_build_it_is_refused_in_one_line(version, has_ensurepip, words):
    line = make.refusal(version, has_ensurepip)
    assert words in line
    assert "\n" not in line
    assert make.refusal((3, 12), True) == ""


def config_of(command: list[str]) -> dict[str, object]:
    """The values as Snakemake understands them."""
    return parse_config(command[command.index("--config") + 1 :])


def test_reproduce_hands_the_graph_to_snakemake(commands, capsys):
    assert make.main(["reproduce"]) == 0
    (command,) = commands
    assert command[:3] == [str(make.in_venv("python")), "-m", "snakemake"]
    assert command[3:8] == ["--cores", "all", "--quiet", "rules", "--rerun-incomplete"]
    assert command[8] == "--config"
    assert config_of(command) == {"data": "", "profile": "quick", "models": ""}
    assert capsys.readouterr().out == "everything took 0 min 00 s\n"


def test_reproduce_passes_its_options_on(commands, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    options = ["--data", "scans", "--profile", "own.yaml", "--models", "unet", "aspp_unet"]
    assert make.main(["reproduce", *options, "--minutes", "8"]) == 0
    (command,) = commands
    assert "--keep-going" in command
    assert config_of(command) == {
        "data": str(tmp_path / "scans"),
        "profile": str(tmp_path / "own.yaml"),
        "models": "unet aspp_unet",
        "minutes": 8,
    }


@pytest.mark.parametrize("name", ["my #1 scans", "a: b", "'quoted'", "größe", "007"])
def test_a_folder_of_any_name_reaches_the_graph(name, tmp_path):
    """Snakemake reads the values as YAML."""
    config = config_of(make.reproduce_command(data=str(tmp_path / name)))
    assert config["data"] == str(tmp_path / name)


def test_simulated_patients_are_no_folder():
    for name in ("simulated", "simulated-20"):
        assert config_of(make.reproduce_command(data=name))["data"] == name


def test_a_cluster_gets_its_plugin_and_its_profile(commands):
    assert make.main(["reproduce", "--cluster", "slurm"]) == 0
    install, graph = commands
    assert install[-1] == make.SLURM_PLUGIN
    assert graph[3:5] == ["--profile", "cluster/slurm"]


@pytest.mark.parametrize(
    ("said", "code", "lines"),
    [
        ("run: time is up; the same command resumes", 3, ["the time is up", "resumes"]),
        ("run: damaged", 1, []),
    ],
)
def test_one_line_says_that_the_time_is_up(said, code, lines, monkeypatch, capfd):
    program = f"import sys; print({said!r}, file=sys.stderr); sys.exit(1)"
    monkeypatch.setattr(make, "prepare", lambda: 0)
    monkeypatch.setattr(make, "reproduce_command", lambda *_: [sys.executable, "-c", program])
    assert make.main(["reproduce", "--minutes", "8"]) == code
    printed = capfd.readouterr()
    assert printed.err.strip() == said
    assert printed.out.count("\n") == bool(lines)
    assert all(words in printed.out for words in lines)


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "soon"])
def test_minutes_are_a_positive_number(minutes, capsys):
    with pytest.raises(SystemExit):
        make.main(["reproduce", f"--minutes={minutes}"])


@pytest.mark.parametrize("made", [False, True])
def test_test_makes_a_missing_phantom_then_runs_pytest_and_nbval(
    made, commands, monkeypatch, tmp_path
):
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path))
    phantom = tmp_path / "data" / "phantom"
    if made:
        phantom.mkdir(parents=True)
        (phantom / "phantom.json").touch()
    assert make.main(["test"]) == 0
    *simulate, library, notebooks = commands
    assert [command[-1] for command in simulate] == [] if made else [str(phantom)]
    assert library[1:] == ["-m", "pytest"]
    assert notebooks[3:5] == ["--nbval", "--nbval-current-env"]
    names = [Path(name).name for name in notebooks[5:]]
    assert names == sorted(path.name for path in (REPOSITORY / "notebooks").glob("[0-9]*.ipynb"))


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


def test_commands_may_compile_what_they_import(monkeypatch):
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    variables = make.environment(TQDM_DISABLE="1")
    assert "PYTHONDONTWRITEBYTECODE" not in variables
    assert (variables["JUPYTER_PLATFORM_DIRS"], variables["TQDM_DISABLE"]) == ("1", "1")


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
        (["lint"], "python3 make.py lint"),
        (["reproduce"], "python3 make.py reproduce"),
        (
            ["reproduce", "DATA=a b", "PROFILE=smoke", "MODELS=unet segnet", "MINUTES=8"],
            'python3 make.py reproduce --data "a b" --profile "smoke" --models unet segnet '
            '--minutes "8"',
        ),
        (["reproduce", "CLUSTER=slurm"], 'python3 make.py reproduce --cluster "slurm"'),
        (["predict", "SCAN=a", "MASK=b"], 'python3 make.py predict "a" "b"'),
    ],
)
def test_make_hands_the_targets_for_users_to_make_py(target, expected):
    planned = _make("--dry-run", *target)
    assert planned.splitlines()[-1].strip() == expected


@needs_make
def test_make_alone_lists_the_targets_for_users_first():
    users, developers = _make().split("for developers")
    assert [line.split()[0] for line in users.splitlines() if line] == list(USER_COMMANDS)
    assert "lint" in developers


def _make(*arguments: str) -> str:
    done = subprocess.run(
        ["make", "--no-print-directory", *arguments, "PYTHON=python3"],
        cwd=REPOSITORY,
        env={name: text for name, text in os.environ.items() if name != "MAKEFLAGS"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
