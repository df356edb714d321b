"""How many cores there are to use, worker processes that end with their parent, shell commands.

make.py imports this module before any package is installed.
"""

import math
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from multiprocessing import parent_process
from pathlib import Path
from threading import Thread

CORES = "LOKY_MAX_CPU_COUNT"  # joblib's variable, which its `cpu_count` obeys too
CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")


def count_cores() -> int:
    """The number of cores that this process may use, at least 1.

    The process's affinity, the CPU quota of its container and the variable CORES limit it.
    """
    cores: float = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):  # macOS and Windows have no affinity, or another one
        cores = len(os.sched_getaffinity(0))
    named = os.environ.get(CORES, "")
    limits = [cores, *_quotas(), *([int(named)] if named.isdecimal() else [])]
    return max(1, math.ceil(min(limits)))


def _quotas() -> Iterator[float]:
    """The CPU quotas, in cores, of this process's control groups and of those that hold them."""
    for folder in _cgroup_folders():
        try:
            if (limit := folder / "cpu.max").is_file():  # version 2
                quota, period = limit.read_text().split()
            else:
                quota = (folder / "cpu.cfs_quota_us").read_text()
                period = (folder / "cpu.cfs_period_us").read_text()
            if (share := float(quota) / float(period)) > 0:  # -1 or `max`: none
                yield share
        except (OSError, ValueError, ZeroDivisionError):
            continue


def _cgroup_folders() -> Iterator[Path]:
    """A container may name its group by a path that only its host has; its own is the root."""
    try:
        lines = OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / "cpu" if controllers else CGROUPS
        group = root / path.lstrip("/")
        yield from [group, *(parent for parent in group.parents if parent.is_relative_to(root))]


def end_with_parent() -> None:
    """Call this in a worker: it exits when its parent dies, and without a traceback on Ctrl-C.

    Pool workers would wait forever for a dead parent.
    """
    if parent := parent_process():
        signal.signal(signal.SIGINT, lambda *_: sys.exit(1))

        def follow() -> None:
            parent.join()
            os._exit(1)

        Thread(target=follow, daemon=True).start()


def shell_line(command: Sequence[str]) -> str:
    """A command as the system's shell takes it."""
    return subprocess.list2cmdline(command) if os.name == "nt" else shlex.join(command)
