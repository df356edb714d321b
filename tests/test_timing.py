"""Timings work where Python has neither `resource` nor a forkserver, as on Windows."""

import operator
import subprocess
import sys

from spineseg.benchmark import timing

ON_WINDOWS = """
import multiprocessing, sys
from types import SimpleNamespace as Stub
sys.modules["resource"] = None
peak = Stub(memory_info=lambda: Stub(peak_wset=5 * 2**20))
sys.modules["psutil"] = Stub(Process=lambda: peak)
multiprocessing.get_all_start_methods = lambda: ["spawn"]
from spineseg.benchmark import timing
timing.sys = Stub(platform="win32")
gpu_less = Stub(device=Stub(type="cpu"))
print(timing.START_METHOD, timing.peak_memory(gpu_less))
"""


def test_windows_spawns_and_asks_psutil_for_the_peak():
    command = [sys.executable, "-c", ON_WINDOWS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "spawn 5.0\n"


def test_a_spawned_process_returns_the_result(monkeypatch):
    monkeypatch.setattr(timing, "START_METHOD", "spawn")
    assert timing.run_in_subprocess(operator.add, 1, 2) == 3
