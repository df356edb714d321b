"""pyproject.toml, requirements.lock and environment.yml name the same versions."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
# torch's own wheel asks for the GPU libraries of its platform; the lock leaves them to it.
GPU = re.compile(r"nvidia-|cuda-|triton")
BROKEN_BESIDE_CPU_TORCH = {"torchvision", "timm"}
CONDA_NAMES = {"pytorch": "torch"}


def read_direct(text: str) -> list[Requirement]:
    """The requirements that pyproject.toml names itself, dev extra included."""
    project = tomllib.loads(text)["project"]
    return [
        Requirement(line)
        for line in project["dependencies"] + project["optional-dependencies"]["dev"]
    ]


def read_lock(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def read_conda(text: str) -> dict[str, str]:
    """environment.yml's exact pins as {PyPI name: version}; python itself is no package here."""
    entries = [entry for entry in yaml.safe_load(text)["dependencies"] if isinstance(entry, str)]
    pins = [entry.split("==") for entry in entries if "==" in entry]
    return {CONDA_NAMES.get(name, name): version for name, version in pins}


def lock_faults(lock: list[Requirement]) -> list[str]:
    """What is wrong with the lock itself: loose or double pins, packages that must not be in it."""
    faults = []
    names = [canonicalize_name(pin.name) for pin in lock]
    for pin, name in zip(lock, names, strict=True):
        if not re.fullmatch(r"==[^,*+]+", str(pin.specifier)) or pin.extras or pin.url:
            faults.append(f"{pin} is not one exact public version")
        if GPU.match(name) or name in BROKEN_BESIDE_CPU_TORCH:
            faults.append(f"{name} must not be locked")
        if names.count(name) > 1:
            faults.append(f"{name} is locked twice")
    return faults


def locked_versions(lock: list[Requirement]) -> dict[str, Version]:
    """{name: version} of the pins that hold on this platform."""
    return {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in lock
        if pin.marker is None or pin.marker.evaluate()
    }


def misfit(wanted: Requirement, locked: dict[str, Version]) -> str | None:
    version = locked.get(canonicalize_name(wanted.name))
    if version is None:
        return f"{wanted} is not locked"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{wanted} does not allow the locked {version}"
    return None


def disagreements(
    direct: list[Requirement], locked: dict[str, Version], conda: dict[str, str]
) -> list[str]:
    """Every direct requirement that the lock misses, every conda pin that differs from it."""
    wanted = direct + [Requirement(f"{name}=={version}") for name, version in conda.items()]
    return [fault for requirement in wanted if (fault := misfit(requirement, locked))]


def open_ends(direct: list[Requirement], locked: dict[str, Version]) -> list[str]:
    """What the installed packages ask for and the lock does not give.

    Walks from the direct requirements through the metadata of the installed packages, extras
    included. A package installed at another version than the locked one is not walked through.
    """
    faults, seen, queue = [], set(), list(direct)
    while queue:
        wanted = queue.pop()
        name = canonicalize_name(wanted.name)
        if GPU.match(name):
            continue
        if fault := misfit(wanted, locked):
            faults.append(fault)
            continue
        for extra in {"", *wanted.extras}:
            if (name, extra) in seen or installed_version(name) != locked[name]:
                continue
            seen.add((name, extra))
            queue += [
                need
                for need in map(Requirement, metadata.requires(name) or [])
                if need.marker is None or need.marker.evaluate({"extra": extra})
            ]
    return faults


def installed_version(name: str) -> Version | None:
    """Without the local part: 2.13.0+cpu counts as 2.13.0."""
    try:
        return Version(Version(metadata.version(name)).public)
    except metadata.PackageNotFoundError:
        return None


@pytest.fixture(scope="module")
def direct() -> list[Requirement]:
    return read_direct((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="module")
def lock() -> list[Requirement]:
    return read_lock((ROOT / "requirements.lock").read_text())


@pytest.fixture(scope="module")
def conda() -> dict[str, str]:
    return read_conda((ROOT / "environment.yml").read_text())


def test_lock_pins_exact_versions_only(lock):
    assert lock_faults(lock) == []
    assert locked_versions(lock)["torch"] == Version("2.13.0")


def test_three_files_agree(direct, lock, conda):
    assert {"torch", "numpy", "scipy"} <= conda.keys()
    assert disagreements(direct, locked_versions(lock), conda) == []


def test_lock_is_closed(direct, lock):
    assert open_ends(direct, locked_versions(lock)) == []


def test_lock_needs_no_newer_python_than_the_project(lock):
    """Every installed package at its locked version still allows the project's oldest Python."""
    too_new = []
    for name, version in locked_versions(lock).items():
        if installed_version(name) == version:
            allowed = metadata.metadata(name).get_all("Requires-Python") or [""]
            if not SpecifierSet(allowed[0]).contains("3.11"):
                too_new.append(f"{name} {allowed[0]}")
    assert too_new == []


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("numpy>=2.0", "not one exact public version"),
        ("numpy==2.*", "not one exact public version"),
        ("torch==2.13.0+cpu", "not one exact public version"),
        ("torchvision==0.28.0", "must not be locked"),
        ("nvidia-cublas==13.4.1.3", "must not be locked"),
        ("SciPy==1.17.1", "locked twice"),
    ],
)
def test_a_faulty_lock_is_found(line, fault):
    good = "# a comment\nscipy==1.17.1\n"
    assert lock_faults(read_lock(good)) == []
    assert any(fault in found for found in lock_faults(read_lock(good + line)))


def test_a_disagreement_is_found():
    direct = [Requirement("numpy>=2.0"), Requirement("scipy>=1.14")]
    locked = {"numpy": Version("1.26.4")}
    conda = read_conda("dependencies: [python=3.11, numpy==2.0.0, pip: [-e .]]")
    assert disagreements(direct, locked, conda) == [
        "numpy>=2.0 does not allow the locked 1.26.4",
        "scipy>=1.14 is not locked",
        "numpy==2.0.0 does not allow the locked 1.26.4",
    ]


def test_an_open_lock_is_found(lock):
    """pytest needs pluggy: a lock without it is not closed."""
    locked = locked_versions(lock)
    if installed_version("pytest") != locked["pytest"]:
        pytest.skip("installed pytest is not the locked one")
    del locked["pluggy"]
    assert any("pluggy" in fault for fault in open_ends([Requirement("pytest")], locked))
