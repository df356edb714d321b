"""Which device and which precision are chosen, and how processes share the GPUs of a machine."""

import os
import subprocess
import sys
import warnings
from contextlib import ExitStack
from types import SimpleNamespace

import pytest
import torch

from spineseg.training import device
from spineseg.training.device import (
    choose_device,
    claim_gpu,
    describe_device,
    gpu_ids,
    make_fabric,
    precision_for,
    single_thread_for_conv3d,
)
from spineseg.utils.errors import UserError
from spineseg.utils.processes import CORES

CLAIM = """
import sys
from spineseg.training import device
device.gpu_ids = lambda: {0: "first", 1: "second"}
device.SECONDS_BETWEEN_TRIES = 0.05
with device.claim_gpu() as gpu:
    print(gpu, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def no_request(monkeypatch):
    monkeypatch.delenv("SPINESEG_DEVICE", raising=False)


@pytest.fixture
def machine(monkeypatch):
    """Stand-ins for the hardware: `machine(cpu=..., gpus=..., bf16=..., mps=...)`."""

    def install(cpu=(), gpus=0, bf16=False, mps=False):
        monkeypatch.setattr(device, "_cpu_capabilities", lambda: dict.fromkeys(cpu, True))
        monkeypatch.setattr(device, "gpu_ids", lambda: {i: f"gpu{i}" for i in range(gpus)})
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)

    install()
    return install


@pytest.mark.parametrize(
    ("wanted", "hardware", "chosen"),
    [
        ("", {}, "cpu"),
        ("", {"gpus": 1}, "cuda"),
        ("", {"mps": True}, "cpu"),
        ("cpu", {"gpus": 1}, "cpu"),
        ("cuda", {"gpus": 2}, "cuda"),
        ("mps", {"mps": True, "gpus": 1}, "mps"),
    ],
)
def test_the_device_is_chosen(machine, monkeypatch, wanted, hardware, chosen):
    machine(**hardware)
    monkeypatch.setenv("SPINESEG_DEVICE", wanted)
    assert choose_device() == chosen


@pytest.mark.parametrize(
    ("wanted", "what"),
    [("cuda", "not available"), ("mps", "not available"), ("tpu", "not a device")],
)
def test_a_device_that_cannot_be_had_is_refused_in_one_line(machine, monkeypatch, wanted, what):
    monkeypatch.setenv("SPINESEG_DEVICE", wanted)
    for ask in (choose_device, make_fabric, precision_for):
        with pytest.raises(UserError, match=what) as error:
            ask()
        assert str(error.value).startswith(f"SPINESEG_DEVICE={wanted}: ")
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("archs", "capability", "runs"),
    [
        (["sm_80", "sm_90"], (8, 0), True),
        (["sm_80", "sm_90"], (8, 6), True),
        (["sm_86"], (8, 0), False),
        (["sm_75", "sm_80"], (7, 0), False),
        (["sm_80", "sm_90"], (12, 0), False),
        (["sm_80", "compute_90"], (12, 0), True),
        (["sm_120", "compute_120"], (9, 0), False),
        (["sm_90a", "sm_100"], (10, 0), True),
        ([], (8, 0), False),
    ],
)
def test_code_runs_on_the_gpus_it_was_built_for(archs, capability, runs):
    assert device._runs_on(archs, capability) is runs


@pytest.fixture
def gpus(monkeypatch):
    """`gpus(name and capability, or an error, ...)` installs these GPUs for torch."""

    def ask(index):
        if isinstance(installed[index], RuntimeError):
            raise installed[index]
        return installed[index]

    def install(*gpus):
        installed[:] = gpus
        device._is_supported.cache_clear()
        device._count_gpus.cache_clear()

    installed = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(installed))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(installed))
    monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_80"])
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"uuid-{index}")
    )
    monkeypatch.setattr(device, "_name_and_capability", ask)
    install()
    yield install
    device._is_supported.cache_clear()
    device._count_gpus.cache_clear()


def test_an_unsupported_gpu_is_named_once_and_not_used(gpus, capsys):
    gpus(("Old GPU", (5, 2)), ("New GPU", (8, 6)))
    assert gpu_ids() == gpu_ids() == {1: "uuid-1"}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Old GPU: compute capability 5.2 is not supported")
    gpus(("Old GPU", (5, 2)))
    assert choose_device() == choose_device() == "cpu"
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_broken_gpu_is_named_once_and_not_used(gpus, capsys):
    broken = RuntimeError("CUDA error: uncorrectable ECC error encountered\nCUDA kernel errors\n")
    gpus(broken, ("New GPU", (8, 6)))
    assert gpu_ids() == gpu_ids() == {1: "uuid-1"}
    expected = "GPU 0: CUDA error: uncorrectable ECC error encountered; this GPU is not used\n"
    assert capsys.readouterr().err == expected


TOO_OLD = (
    "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040). "
    "Please update your GPU driver by downloading and installing a new version from the URL: "
    "http://www.nvidia.com/Download/index.aspx (Triggered internally at CUDAFunctions.cpp:108.)"
)
UNKNOWN = (
    "CUDA unknown error - this may be due to an incorrectly set up environment, e.g. changing env "
    "variable CUDA_VISIBLE_DEVICES after program start. Setting the available devices to be zero."
)


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize(
    ("said", "line"),
    [
        (
            TOO_OLD,
            "CUDA initialization: The NVIDIA driver on your system is too old (found version "
            "11040); no GPU is used",
        ),
        (UNKNOWN, UNKNOWN.removesuffix(". Setting the available devices to be zero.")),
    ],
)
def test_a_driver_that_cannot_be_used_is_named_once(said, line, raises, gpus, monkeypatch, capsys):
    def is_available():
        if raises:
            raise RuntimeError(said)
        warnings.warn(said, UserWarning, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    assert choose_device() == choose_device() == "cpu"
    (printed,) = capsys.readouterr().err.splitlines()
    assert printed.startswith(line)
    assert printed.endswith("; no GPU is used")


@pytest.mark.parametrize(
    ("own", "cores", "used"), [({}, "1", 1), ({"OMP_NUM_THREADS": "2"}, "1", 2)]
)
def test_torch_gets_no_more_threads_than_there_are_cores(own, cores, used):
    program = "import spineseg.training.device, torch; print(torch.get_num_threads())"
    kept = {name: text for name, text in os.environ.items() if name != "OMP_NUM_THREADS"}
    printed = subprocess.check_output(
        [sys.executable, "-c", program], env={**kept, CORES: cores, **own}, text=True
    )
    assert int(printed) == used


@pytest.mark.parametrize(
    ("hardware", "width", "precision"),
    [
        ({"gpus": 1, "bf16": True}, 64, "bf16-mixed"),
        ({"gpus": 1, "bf16": True}, 63, "32-true"),
        ({"gpus": 1, "bf16": False, "cpu": ["amx_bf16"]}, 64, "32-true"),
        ({"cpu": ["amx_bf16", "avx512_bf16"]}, 8, "bf16-mixed"),
        ({"cpu": ["avx512_bf16"]}, 63, "32-true"),
        ({"cpu": ["avx512_bf16"]}, 64, "bf16-mixed"),
        ({"cpu": ["avx512_bf16"]}, None, "bf16-mixed"),
        ({"cpu": []}, 1024, "32-true"),
    ],
)
def test_the_precision_follows_hardware_and_width(machine, hardware, width, precision):
    machine(**hardware)
    assert precision_for(width) == precision


def test_mps_computes_in_float32(machine, monkeypatch):
    machine(cpu=["amx_bf16"], mps=True)
    monkeypatch.setenv("SPINESEG_DEVICE", "mps")
    assert precision_for(64) == "32-true"


@pytest.mark.parametrize(
    ("precision", "words"), [("bf16-mixed", "bf16"), ("32-true", "float32"), (None, "float32")]
)
def test_a_recorded_precision_overrides_the_rule(machine, precision, words):
    fabric = make_fabric(width=16, precision=precision)
    assert fabric.device.type == "cpu"
    assert fabric.world_size == 1
    assert describe_device(fabric).endswith(f", {words}")


@pytest.mark.parametrize(("cpu", "threads"), [(["amx_bf16"], 1), (["avx512_bf16"], 2)])
def test_3d_convolutions_use_one_thread_with_amx(machine, cpu, threads):
    machine(cpu=cpu)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with single_thread_for_conv3d(True):
            assert torch.get_num_threads() == threads
        with single_thread_for_conv3d(False):
            assert torch.get_num_threads() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_without_a_gpu_nothing_is_claimed(machine, monkeypatch):
    with claim_gpu() as gpu:
        assert gpu is None
    machine(gpus=2)
    monkeypatch.setenv("SPINESEG_DEVICE", "cpu")
    with claim_gpu() as gpu:
        assert gpu is None


def test_processes_share_the_gpus_of_a_machine(tmp_path):
    """Two processes get one each. A third waits until one of them is killed."""
    folders = dict.fromkeys(("TMPDIR", "TEMP", "TMP"), str(tmp_path))
    started = []

    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", CLAIM],
            env=os.environ | folders,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    try:
        first, second = start(), start()
        claimed = [process.stdout.readline().strip() for process in (first, second)]
        assert sorted(claimed) == ["0", "1"]
        third = start()
        assert third.stderr.readline() == "all GPUs are in use (2); waiting for one\n"
        first.kill()
        assert third.stdout.readline().strip() == claimed[0]
        second.communicate()
        fourth = start()
        assert fourth.stdout.readline().strip() == claimed[1]
    finally:
        for process in started:
            process.kill()
            process.communicate()


def test_more_than_one_process_can_share_a_gpu(machine, monkeypatch, tmp_path, capsys):
    """Each GPU gets one process before any gets two; with all places taken, a process waits."""
    machine(gpus=2)
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("SPINESEG_RUNS_PER_GPU", "2")
    with ExitStack() as stack:
        assert [stack.enter_context(claim_gpu()) for _ in range(4)] == [0, 1, 0, 1]
        monkeypatch.setattr(device.time, "sleep", lambda seconds: stack.close())
        with claim_gpu() as gpu:
            assert gpu == 0
    assert capsys.readouterr().err == "all GPUs are in use (2); waiting for one\n"


@pytest.mark.parametrize("text", ["0", "-1", "two", "1.5"])
def test_a_number_of_processes_per_gpu_that_is_none_is_refused(machine, monkeypatch, text):
    machine(gpus=1)
    monkeypatch.setenv("SPINESEG_RUNS_PER_GPU", text)
    with pytest.raises(UserError, match="not a positive number; unset it"), claim_gpu():
        pass
