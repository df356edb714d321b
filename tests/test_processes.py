"""How many cores count: affinity, quotas and the number asked for; how workers end."""

import logging
import os
import signal
import subprocess
import sys
import time
from multiprocessing import get_context

import pytest
from lightning_fabric.utilities.rank_zero import rank_zero_info

from spineseg.utils import processes
from spineseg.utils.paths import REPOSITORY
from spineseg.utils.processes import CORES, count_cores, end_with_parent
from spineseg.utils.progress import LIGHTNING, silence_lightning


@pytest.fixture
def cgroups(tmp_path, monkeypatch):
    """`cgroups(own, {file: text})` installs /proc/self/cgroup and /sys/fs/cgroup of 16 cores."""
    monkeypatch.delenv(CORES, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)

    def install(own: str, files: dict[str, str]) -> None:
        monkeypatch.setattr(processes, "OWN_CGROUPS", tmp_path / "self")
        monkeypatch.setattr(processes, "CGROUPS", tmp_path / "cgroup")
        (tmp_path / "self").write_text(own)
        for name, text in files.items():
            file = tmp_path / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)

    install("", {})
    return install


def of_version_1(folder: str, quota: int) -> dict[str, str]:
    return {
        f"{folder}/cpu.cfs_quota_us": f"{quota}\n",
        f"{folder}/cpu.cfs_period_us": "100000\n",
    }


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "max 100000\n"}, 16),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "9900000 100000\n"}, 16),
        ("0::/\n", {}, 16),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "max 100000"}, 3),
        ("0::/a/b\n", {"a/cpu.max": "300000 100000", "a/b/cpu.max": "50000 25000"}, 2),
        ("0::/only-the-host-has-it\n", {"cpu.max": "400000 100000"}, 4),
        ("0::/../outside\n", {"cpu.max": "400000 100000"}, 4),
        ("4:cpu,cpuacct:/\n0::/\n", of_version_1("cpu", 250_000), 3),
        ("4:cpuacct,cpu:/docker/1\n", of_version_1("cpu", 500_000), 5),
        ("4:cpu:/job\n", of_version_1("cpu/job", 700_000) | of_version_1("cpu", -1), 7),
        ("4:cpu:/\n", of_version_1("cpu", -1), 16),
        ("5:cpuset:/\n4:memory:/\n", of_version_1("cpu", 100_000), 16),
        ("0::/\n", {"cpu.max": "damaged\n"}, 16),
        ("0::/\n", {"cpu.max": "1 0\n"}, 16),
    ],
)
def test_a_quota_counts(own, files, cores, cgroups):
    cgroups(own, files)
    assert count_cores() == cores


def test_the_smallest_limit_counts(cgroups, monkeypatch):
    cgroups("0::/\n", {"cpu.max": "800000 100000\n"})
    monkeypatch.setenv(CORES, "3")
    assert count_cores() == 3
    monkeypatch.setenv(CORES, "12")
    assert count_cores() == 8
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5}, raising=False)
    assert count_cores() == 1
    monkeypatch.setenv(CORES, "many")
    assert count_cores() == 1


def test_without_affinity_all_cores_count(cgroups, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    assert count_cores() == 6


def test_make_py_counts_before_anything_is_installed():
    program = "import make; print(make.count_cores())"
    command = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.insert(0, '.'); {program}"]
    counted = subprocess.check_output(command, cwd=REPOSITORY, text=True)
    assert int(counted) == count_cores()


# --- workers


def wait_as_a_worker(ready):
    end_with_parent()
    ready.set()
    time.sleep(600)


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGINT for one process")
def test_a_worker_that_is_interrupted_prints_no_traceback(capfd):
    context = get_context("spawn")
    ready = context.Event()
    worker = context.Process(target=wait_as_a_worker, args=(ready,), daemon=True)
    worker.start()
    assert ready.wait(60)
    os.kill(worker.pid, signal.SIGINT)
    worker.join(60)
    assert worker.exitcode == 1
    assert capfd.readouterr().err == ""


def test_lightning_says_nothing_between_progress_bars(caplog):
    with caplog.at_level(logging.INFO, LIGHTNING):
        rank_zero_info("said")
    silence_lightning()
    rank_zero_info("not said")
    assert [record.message for record in caplog.records] == ["said"]
