"""Faults outside the program: nothing is lost, and the next command resumes or says how.

`--faults` (`make test-faults`) kills every command before each single thing that it does to the
disk, and damages every file in every way; by default a choice of these is made. The faults are
counted in docs/reliability.md.
"""

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

if sys.platform != "linux":
    pytest.skip("the faults are injected by means of Linux", allow_module_level=True)

from commands import Commands, Ended
from spineseg.experiment import Experiment
from spineseg.utils import paths
from spineseg.utils.errors import write_error
from spineseg.utils.files import read_json
from spineseg.utils.paths import REPOSITORY
from spineseg.workflow.gather import results_of

EXPERIMENT = "phantom-mini-smoke"
RUN = f"runs/{EXPERIMENT}/unet-fold-0-seed-0"
JOBS = ("prepare", "train", "evaluate", "gather", "predict", "phantom")
BEFORE = {"phantom": None, "prepare": None, "train": "prepare", "evaluate": "train"}
BEFORE |= {"gather": "evaluate", "tables": "gather", "predict": "train", "cost": "prepare"}
SMALL = {  # bytes, less than the largest file that the command writes
    **{"phantom": 4000, "prepare": 100_000, "train": 1_000_000, "evaluate": 4000, "gather": 4000},
    **{"predict": 4000, "cost": 500},
}
NOBODY = 65534


@pytest.fixture(scope="session")
def commands(tmp_path_factory) -> Iterator[Commands]:
    server = Commands(tmp_path_factory.mktemp("prints"))
    yield server
    server.close()


@pytest.fixture(scope="session")
def after(commands, phantom, tmp_path_factory):
    """after(job): a root as a command leaves it that nothing disturbed; made once, not to touch."""
    roots: dict[str | None, Path] = {}

    def make(job: str | None) -> Path:
        if job not in roots:
            root = tmp_path_factory.mktemp("undisturbed") / "root"
            if job is None:
                root.mkdir()
            else:
                shutil.copytree(make(BEFORE[job]), root)
                ended = commands.run(root, *arguments(job, root, phantom))
                assert ended.code == 0, ended.err
            roots[job] = root
        return roots[job]

    return make


@pytest.fixture
def every(request) -> bool:
    return request.config.getoption("--faults")


@pytest.fixture
def root(tmp_path) -> Path:
    return tmp_path / "root"


def arguments(job: str, root: Path, phantom: Path) -> list[object]:
    experiment = ["--data", phantom, "--profile", "smoke"]
    scan = phantom / "train" / "MR" / "Case1.nii.gz"
    return {
        "phantom": ["data", "phantom", root / "made", "--cases", 1, "--scale", 1 / 16],
        "prepare": ["data", "prepare", *experiment],
        "train": ["train", *experiment, "--model", "unet"],
        "evaluate": ["evaluate", root / RUN],
        "cost": ["cost", *experiment],
        "gather": ["gather", *experiment, "--models", "unet"],
        "tables": ["tables", *experiment],
        "predict": ["predict", scan, root / "mask.nii", "--run", root / RUN],
    }[job]


def assert_same(root: Path, undisturbed: Path) -> None:
    """The same files, hidden ones too, with the same content but for the seconds taken.

    Only the lock of a process that was killed may stay; it binds nobody.
    """
    files = {file.relative_to(root) for file in root.rglob("*") if ".lock-" not in file.name}
    assert files == {file.relative_to(undisturbed) for file in undisturbed.rglob("*")}
    for file in sorted(files):
        if (root / file).is_file():
            assert content(root / file) == content(undisturbed / file), file


def content(path: Path) -> object:
    if path.suffix == ".csv":
        table = pd.read_csv(path).drop(columns="seconds", errors="ignore")
        return table.drop(columns=MEASURED, errors="ignore").to_csv()
    if path.suffix == ".json":
        return without_seconds(read_json(path))
    if path.suffix == ".npz":
        return {name: array.tobytes() for name, array in np.load(path).items()}
    if path.suffix == ".pt":
        saved = torch.load(path, weights_only=True)
        weights = {name: value.numpy().tobytes() for name, value in saved["network"].items()}
        return weights, without_seconds(saved["log"]), saved["record"]
    if path.suffix in (".gz", ".nii"):
        return sitk.GetArrayFromImage(sitk.ReadImage(path)).tobytes()
    return path.read_bytes()


MEASURED = ["rounds", "memory_mib", "gemm_gflops_per_s", "share_of_peak"]


def without_seconds(content: object) -> object:
    if isinstance(content, list):
        return [without_seconds(part) for part in content]
    if isinstance(content, dict):
        return {key: part for key, part in content.items() if "seconds" not in key}
    return content


def assert_one_line(ended: Ended, *words: str) -> None:
    assert ended.code == 1, ended.err
    assert "Traceback" not in ended.err
    *_, last = ended.err.splitlines()
    assert all(word in last for word in words), ended.err


def copied(undisturbed: Path, root: Path) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    return shutil.copytree(undisturbed, root)


# --- kill -9


@pytest.mark.parametrize("job", [*JOBS, "cost"])
def test_killed_before_anything_it_does_to_the_disk(job, commands, after, phantom, root, every):
    if job in ("cost", "evaluate") and not every:
        pytest.skip("long; --faults")
    before, undisturbed = after(BEFORE[job]), after(job)
    command = arguments(job, copied(before, root), phantom)
    list_to = root.parent / "touches"
    assert commands.run(root, *command, at=str(root), list_to=str(list_to)).code == 0
    touches = len(list_to.read_text().splitlines())
    assert touches > 1
    moments = range(touches) if every else {"train": (11,)}.get(job, (touches - 2,))
    if job == "cost":
        moments = (touches - 1,)
    for moment in moments:
        copied(before, root)
        assert commands.run(root, *command, at=str(root), nth=moment).code == -signal.SIGKILL
        ended = commands.run(root, *command)
        assert ended.code == 0, ended.err
        assert_same(root, undisturbed)


def test_killed_in_the_middle_of_an_epoch(commands, after, phantom, root):
    """After the first epoch is saved and before the second is."""
    command = arguments("train", copied(after("prepare"), root), phantom)
    at = {"at": r"rename .*log\.csv$", "by": signal.SIGSTOP}
    running = commands.start(root, *command, **at)
    running.wait_until_stopped()
    running.signal(signal.SIGCONT)
    time.sleep(0.1)  # an epoch takes about 0.3 s
    running.signal(signal.SIGKILL)
    assert running.end().code == -signal.SIGKILL
    assert commands.run(root, *command).code == 0
    assert_same(root, after("train"))


def test_the_workers_of_a_killed_command_end_with_it(commands, root, every):
    if not every:
        pytest.skip("long; --faults")
    command = ["data", "phantom", root / "made", "--cases", 12, "--scale", 1 / 16]
    running = commands.start(root, *command)
    while not list(root.glob("made/train/Mask/mask*")):
        time.sleep(0.01)
    running.signal(signal.SIGKILL)
    running.end()
    deadline = time.monotonic() + 10
    while in_session(running.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not in_session(running.pid)
    again = commands.run(root, *command)
    assert again.code == 0, again.err
    assert not list(root.rglob(".*"))


def in_session(leader: int) -> list[int]:
    """The living processes of a session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, session = stat.read_text().rpartition(")")[2].split()[:4]
        except OSError:  # it ended meanwhile
            continue
        if int(session) == leader and state != "Z":
            found.append(int(stat.parent.name))
    return found


# --- no room


@pytest.mark.parametrize("fatal", [True, False], ids=["killed in mid-file", "no room"])
@pytest.mark.parametrize("job", JOBS)
def test_a_file_that_cannot_be_finished(job, fatal, commands, after, phantom, root, every):
    if job == "evaluate" and not every:
        pytest.skip("long; --faults")
    before = after(BEFORE[job])
    command = arguments(job, copied(before, root), phantom)
    fault = {"file_size": SMALL[job], "fatal": fatal}
    ended = commands.run(root, *command, **fault)
    if fatal and job != "phantom":  # ITK stops at the first write that comes out short
        assert ended.code == -signal.SIGXFSZ
    else:
        assert_one_line(ended, "not written", "make room")
        assert not list(root.rglob(".*"))
    assert commands.run(root, *command).code == 0
    assert_same(root, after(job))


@pytest.mark.parametrize("job", JOBS)
def test_a_full_disk(job, commands, after, phantom, root, every):
    """A real one, of memory, with less room than the command needs; then with more."""
    if job == "evaluate" and not every:
        pytest.skip("long; --faults")
    root.mkdir()
    before = after(BEFORE[job])
    files = [file for file in before.rglob("*") if file.is_file()]
    pages = sum(-(-file.stat().st_size // 4096) for file in files)
    room = 4 * (pages + max(2, SMALL[job] // 4096))  # KiB
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}k", "tmpfs", str(root)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("may not mount a small disk here")
    try:
        shutil.copytree(before, root, dirs_exist_ok=True)
        command = arguments(job, root, phantom)
        assert_one_line(commands.run(root, *command), "not written", "make room")
        assert not list(root.rglob(".*"))
        subprocess.run(["mount", "-o", "remount,size=50m", str(root)], check=True)
        ended = commands.run(root, *command)
        assert ended.code == 0, ended.err
        assert_same(root, after(job))
    finally:
        subprocess.run(["umount", str(root)], check=True)


# --- damaged files


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))


def lost(path: Path) -> None:
    path.unlink()


def flipped(path: Path) -> None:
    """A single bit in the middle."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


CACHE = "cache/*/"
RESULTS = f"results/{EXPERIMENT}/"
WAYS = {"cut": cut, "emptied": emptied, "noise": noise}
CHECKED = {"flipped": flipped}
DAMAGED = [  # the file, the command that meets it, and the ways that it notices
    (f"{RUN}/checkpoint.pt", "predict", {**WAYS, **CHECKED, "lost": lost}),
    (f"{RUN}/checkpoint.pt", "train", {**WAYS, **CHECKED}),
    (f"{RUN}/run.json", "gather", WAYS),
    (f"{RUN}/log.csv", "gather", {**WAYS, "lost": lost}),
    (f"{RUN}/scores.csv", "gather", WAYS),
    (f"{RUN}/noise.csv", "gather", {**WAYS, "lost": lost}),
    (f"{RUN}/confusion.csv", "gather", {**WAYS, "lost": lost}),
    (f"{RUN}/examples.npz", "gather", {**WAYS, **CHECKED, "lost": lost}),
    (f"{RUN}/noise.npz", "gather", {**WAYS, **CHECKED, "lost": lost}),
    (f"runs/{EXPERIMENT}/split.json", "prepare", WAYS),
    (f"{CACHE}index.json", "prepare", WAYS),
    (f"{CACHE}images.npy", "train", {**WAYS, **CHECKED, "lost": lost}),
    (f"{CACHE}masks.npy", "train", {**WAYS, **CHECKED, "lost": lost}),
    (f"{RESULTS}runs.json", "read", {**WAYS, "lost": lost}),
    (f"{RESULTS}scores.csv", "read", {**WAYS, "lost": lost}),
    (f"{RESULTS}summary.csv", "read", {**WAYS, "lost": lost}),
    (f"{RESULTS}curves.csv", "read", {**WAYS, "lost": lost}),
    (f"{RESULTS}noise.csv", "read", {**WAYS, "lost": lost}),
    (f"{RESULTS}confusion.csv", "read", {**WAYS, "lost": lost}),
    ("made/phantom.json", "phantom", WAYS),
]

CHOSEN = [
    (f"{RUN}/checkpoint.pt", "predict", flipped),
    (f"{RUN}/checkpoint.pt", "train", cut),
    (f"{RUN}/run.json", "gather", emptied),
    (f"{RUN}/log.csv", "gather", cut),
    (f"runs/{EXPERIMENT}/split.json", "prepare", cut),
    (f"{CACHE}index.json", "prepare", cut),
    (f"{CACHE}images.npy", "train", flipped),
    (f"{CACHE}masks.npy", "train", lost),
    (f"{RESULTS}runs.json", "read", noise),
    (f"{RESULTS}scores.csv", "read", cut),
    (f"{RUN}/confusion.csv", "gather", cut),
    (f"{RESULTS}confusion.csv", "read", cut),
    ("made/phantom.json", "phantom", cut),
]


@pytest.mark.parametrize(
    ("name", "job", "way"),
    [(name, job, way) for name, job, ways in DAMAGED for way in ways.values()],
)
def test_a_damaged_file_is_named_and_what_the_line_says_helps(
    name, job, way, commands, after, phantom, root, every, monkeypatch
):
    if not every and (name, job, way) not in CHOSEN:
        pytest.skip("--faults")
    copied(after({"phantom": "phantom", "read": "tables"}.get(job, "gather")), root)
    if job == "train":  # not finished, and from another cache where that is what is damaged
        (root / RUN / "run.json").unlink()
        if "cache" in name:
            (root / RUN / "checkpoint.pt").unlink()
    (path,) = root.glob(name)
    way(path)

    def meet() -> Ended:
        if job != "read":
            return commands.run(root, *arguments(job, root, phantom))
        monkeypatch.setenv("SPINESEG_ROOT", str(root))
        try:
            results_of(Experiment.of(phantom, "smoke"))
        except ValueError as error:
            return Ended(1, "", str(error))
        return Ended(0, "", "")

    ended = meet()
    assert_one_line(ended, "remove")
    line = ended.err.splitlines()[-1]
    assert path.name in line
    remove = re.search(r"remove (\S+)", line)[1]
    target = Path(remove) if remove.startswith("/") else path
    assert target.is_relative_to(root)
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    if job in ("predict", "gather"):
        assert commands.run(root, *arguments("train", root, phantom)).code == 0
    if job == "gather" and not (root / RUN / "scores.csv").is_file():
        assert commands.run(root, *arguments("evaluate", root, phantom)).code == 0
    if job == "read":
        assert commands.run(root, *arguments("gather", root, phantom)).code == 0
        assert commands.run(root, *arguments("tables", root, phantom)).code == 0
    again = meet()
    assert again.code == 0, again.err


def test_a_checkpoint_that_does_not_fit(commands, after, phantom, root):
    """Of another network, another run, or with tensors of other shapes; nothing is guessed."""
    copied(after("train"), root)
    checkpoint = root / RUN / "checkpoint.pt"
    saved = torch.load(checkpoint, weights_only=True)
    narrow = {name: value[:1] for name, value in saved["network"].items() if value.ndim}
    wrong = [
        saved | {"network": narrow},
        saved | {"network": [1, 2]},
        {"network": saved["network"]},
        [saved],
    ]
    predict, train = arguments("predict", root, phantom), arguments("train", root, phantom)
    finished = (root / RUN / "run.json").read_bytes()
    for content in (*wrong, saved | {"optimizer": {}}, saved | {"schedule": None}):
        torch.save(content, checkpoint)
        if content in wrong:
            (root / RUN / "run.json").write_bytes(finished)
            assert_one_line(commands.run(root, *predict), str(root / RUN), "remove")
        (root / RUN / "run.json").unlink(missing_ok=True)
        assert_one_line(commands.run(root, *train), str(root / RUN), "remove")


def test_a_checkpoint_of_another_run_is_not_gone_on_with(commands, after, phantom, root):
    copied(after("train"), root)
    checkpoint = root / RUN / "checkpoint.pt"
    saved = torch.load(checkpoint, weights_only=True)
    torch.save(saved | {"record": saved["record"] | {"model": "segnet"}}, checkpoint)
    predict, train = arguments("predict", root, phantom), arguments("train", root, phantom)
    assert_one_line(commands.run(root, *predict), str(root / RUN), "remove")
    (root / RUN / "run.json").unlink()
    ended = commands.run(root, *train)
    assert ended.code == 0
    assert f"{root / RUN}: begun with other model; training starts from scratch" in ended.err
    assert torch.load(checkpoint, weights_only=True)["record"] == saved["record"]


def test_rows_lost_at_the_end_of_a_line_are_missed(commands, after, phantom, root):
    """A table that ends early, but not within a line."""
    copied(after("evaluate"), root)
    for name in ("scores.csv", "noise.csv", "confusion.csv", "log.csv"):
        whole = (root / RUN / name).read_text()
        (root / RUN / name).write_text("".join(whole.splitlines(keepends=True)[:3]))
        ended = commands.run(root, *arguments("gather", root, phantom))
        assert_one_line(ended, "unet fold 0 seed 0 lacks", "remove", "make reproduce")
        (root / RUN / name).write_text(whole)


# --- two at once, sleep, and clocks


def stopped(commands, root, command, at) -> object:
    running = commands.start(root, *command, at=at, by=signal.SIGSTOP)
    running.wait_until_stopped()
    return running


def test_a_training_is_refused_while_another_process_is_at_it(commands, after, phantom, root):
    """The first sleeps, as on a closed laptop, and then continues undisturbed."""
    command = arguments("train", copied(after("prepare"), root), phantom)
    first = stopped(commands, root, command, r"rename .*checkpoint\.pt")
    second = commands.run(root, *command)
    assert_one_line(second, str(root / RUN), f"process {first.pid} on", "run this again when")
    other = commands.run(root, *arguments("train", root, phantom)[:-1], "segnet")
    assert other.code == 0, other.err  # another run is nobody's business
    shutil.rmtree(root / RUN.replace("unet", "segnet"))
    first.signal(signal.SIGCONT)
    assert first.end().code == 0
    assert_same(root, after("train"))


def test_who_dies_holds_nothing_back(commands, after, phantom, root):
    command = arguments("train", copied(after("prepare"), root), phantom)
    first = stopped(commands, root, command, r"rename .*checkpoint\.pt")
    first.signal(signal.SIGKILL)
    first.end()
    assert (root / f"runs/{EXPERIMENT}/.lock-unet-fold-0-seed-0").is_file()
    assert commands.run(root, *command).code == 0
    assert_same(root, after("train"))


@pytest.mark.parametrize(("job", "at"), [("prepare", "open .*images.npy"), ("phantom", "partial")])
def test_of_two_that_make_data_the_second_waits(job, at, commands, after, phantom, root):
    command = arguments(job, copied(after(None), root), phantom)
    first = stopped(commands, root, command, at)
    second = commands.start(root, *command)
    while "waiting for its end" not in second.said():
        assert second.is_alive()
        time.sleep(0.01)
    assert f"process {first.pid} on" in second.said()
    first.signal(signal.SIGCONT)
    ended = [first.end(), second.end()]
    assert [end.code for end in ended] == [0, 0]
    assert ended[0].out == ended[1].out
    assert_same(root, after(job))


@pytest.mark.parametrize(("job", "at"), [("gather", "open .*scores.csv"), ("predict", "open")])
def test_two_that_write_the_same_files_both_end_well(job, at, commands, after, phantom, root):
    command = arguments(job, copied(after(BEFORE[job]), root), phantom)
    first = stopped(commands, root, command, at)
    second = commands.start(root, *command)
    time.sleep(0.5)
    first.signal(signal.SIGCONT)
    assert first.end().code == second.end().code == 0
    assert_same(root, after(job))


def test_a_clock_that_jumps(commands, after, phantom, root):
    """An hour back and a day ahead, over and over: times are not taken from it."""
    command = arguments("train", copied(after("prepare"), root), phantom)
    ended = commands.run(root, *command, clock=[-3600, 86400, 0])
    assert ended.code == 0, ended.err
    assert_same(root, after("train"))
    seconds = pd.read_csv(root / RUN / "log.csv")["seconds"]
    assert seconds.between(0, 60).all()
    assert 0 < read_json(root / RUN / "run.json")["training_seconds"] < 180


# --- folders that may only be read


@pytest.fixture
def elsewhere(phantom) -> Iterator[Path]:
    """A folder that any user can reach, which pytest's are not, with the scans in it."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copytree(phantom, Path(folder) / phantom.name)
        yield Path(folder)


@pytest.mark.parametrize("job", ["prepare", "train", "gather", "predict"])
def test_a_folder_that_may_only_be_read(job, commands, after, phantom, elsewhere):
    """What is not done yet is refused in a line; what is finished can be used."""
    fault = {} if os.getuid() else {"user": NOBODY}
    scans, root = elsewhere / phantom.name, elsewhere / "root"
    before = after(BEFORE[job])
    shutil.copytree(before, root)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    ended = commands.run(root, *arguments(job, root, scans), **fault)
    assert_one_line(ended, "not written", "Permission denied", "make its folder writable")
    for folder in folders:
        folder.chmod(0o755)
    assert commands.run(root, *arguments(job, root, scans)).code == 0


def test_finished_work_can_be_used_from_a_folder_that_may_only_be_read(
    commands, after, phantom, elsewhere
):
    fault = {} if os.getuid() else {"user": NOBODY}
    scans, root = elsewhere / phantom.name, elsewhere / "root"
    shutil.copytree(after("train"), root)
    folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    (elsewhere / "masks").mkdir()
    (elsewhere / "masks").chmod(0o777)
    command = arguments("predict", root, scans)
    command[2] = elsewhere / "masks" / "mask.nii"
    for finished in (arguments("prepare", root, scans), arguments("train", root, scans), command):
        ended = commands.run(root, *finished, **fault)
        assert ended.code == 0, ended.err
    for folder in folders:
        folder.chmod(0o755)


# --- the graph


def test_a_killed_graph_goes_on(phantom, root, tmp_path, every):
    """Snakemake, killed, leaves a lock and half a job; the next call minds neither."""
    if not every:
        pytest.skip("long; --faults")
    target = root / "runs" / EXPERIMENT / "split.json"
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "rules"]
    command += ["--rerun-incomplete", "--snakefile", REPOSITORY / "Snakefile"]
    command += ["--directory", tmp_path, "--config", f"data={phantom}", "profile=smoke"]
    command += ["models=unet", "--", target]
    environment = {**os.environ, "SPINESEG_ROOT": str(root)}
    quiet = {"env": environment, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    first = subprocess.Popen(command, start_new_session=True, text=True, **quiet)
    while not list(root.glob("cache/.part-*")) and first.poll() is None:
        time.sleep(0.005)
    os.kill(first.pid, signal.SIGSTOP)
    assert list((tmp_path / ".snakemake" / "locks").iterdir())
    second = subprocess.run(command, text=True, **quiet)  # the first one sleeps, and is not dead
    assert second.returncode == 1
    assert "lock" in second.stderr
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    third = subprocess.run(command, text=True, **quiet)
    assert third.returncode == 0, third.stderr
    assert target.is_file()
    assert not list(root.rglob(".*"))


@pytest.mark.parametrize("error", [OSError(), RuntimeError(), RuntimeError("\n")])
def test_an_error_without_words_is_named_by_its_type(error, tmp_path):
    line = str(write_error(tmp_path / "mask.nii", error))
    assert f"not written ({type(error).__name__}; " in line


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "make room, or make its folder writable, and run this again"),
        (errno.ENAMETOOLONG, "give it a shorter name"),
        (errno.ENOTDIR, "choose another folder"),
    ],
)
def test_the_remedy_for_a_file_that_cannot_be_written_is_that_of_the_error(
    number, remedy, tmp_path
):
    line = str(write_error(tmp_path / "mask.nii", OSError(number, os.strerror(number))))
    assert line.endswith(f"; {remedy}")
    assert f"not written ({os.strerror(number)}; " in line


def test_an_empty_root_is_no_root(monkeypatch):
    monkeypatch.setenv("SPINESEG_ROOT", "")
    assert paths.root() == REPOSITORY
