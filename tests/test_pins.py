"""requirements.lock fits pyproject.toml and is complete; environment.yml installs from it."""

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
# The torch wheel of each platform requires its own GPU libraries, so the lock leaves them out.
GPU = re.compile(r"nvidia-|cuda-|triton")
BROKEN_BESIDE_CPU_TORCH = {"torchvision", "timm"}


def read_direct(text: str) -> list[Requirement]:
    """The requirements in pyproject.toml, with those of the dev extra."""
    project = tomllib.loads(text)["project"]
    return [
        Requirement(line)
        for line in project["dependencies"] + project["optional-dependencies"]["dev"]
    ]


def read_lock(text: str) -> list[Requirement]:
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith("#")]


def read_conda(text: str) -> tuple[list[str], list[str]]:
    """What environment.yml installs by conda, and its arguments for pip."""
    entries = yaml.safe_load(text)["dependencies"]
    by_conda = [entry for entry in entries if isinstance(entry, str)]
    by_pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    return by_conda, by_pip


def lock_faults(lock: list[Requirement]) -> list[str]:
    """Faults of the lock itself: loose or repeated pins, and packages that must not be in it."""
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
    """{name: version} of the pins that apply to this platform."""
    return {
        canonicalize_name(pin.name): Version(str(pin.specifier).removeprefix("=="))
        for pin in lock
        if pin.marker is None or pin.marker.evaluate()
    }


def misfit(wanted: Requirement, locked: dict[str, Version]) -> str | None:
    """Why the lock does not satisfy a requirement, or None if it does."""
    version = locked.get(canonicalize_name(wanted.name))
    if version is None:
        return f"{wanted} is not locked"
    if not wanted.specifier.contains(version, prereleases=True):
        return f"{wanted} does not allow the locked {version}"
    return None


def disagreements(direct: list[Requirement], locked: dict[str, Version]) -> list[str]:
    """Every direct requirement that the lock does not satisfy."""
    return [fault for requirement in direct if (fault := misfit(requirement, locked))]


def missing_pins(direct: list[Requirement], locked: dict[str, Version]) -> list[str]:
    """Requirements of the installed packages that the lock does not satisfy.

    The walk starts at the direct requirements and follows the metadata of the installed packages,
    with their extras. It stops at a package whose installed version is not the locked one.
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
    """The version without its local part: 2.13.0 for 2.13.0+cpu. None if not installed."""
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


def test_lock_pins_exact_versions_only(lock):
    assert lock_faults(lock) == []
    assert locked_versions(lock)["torch"] == Version("2.13.0")


def test_lock_satisfies_the_project(direct, lock):
    assert disagreements(direct, locked_versions(lock)) == []


def test_conda_installs_python_and_pip_only():
    by_conda, by_pip = read_conda((ROOT / "environment.yml").read_text())
    assert by_conda == ["python=3.11", "pip"]
    assert by_pip == ["-r requirements.lock", "-e ."]


def test_lock_is_complete(direct, lock):
    assert missing_pins(direct, locked_versions(lock)) == []


def test_lock_needs_no_newer_python_than_the_project(lock):
    """Each package that is installed at its locked version supports the project's oldest Python."""
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
    assert disagreements(direct, {"numpy": Version("1.26.4")}) == [
        "numpy>=2.0 does not allow the locked 1.26.4",
        "scipy>=1.14 is not locked",
    ]


def test_another_package_of_conda_is_found():
    by_conda, by_pip = read_conda("dependencies: [python=3.11, numpy==2.0.0, pip: [-e .]]")
    assert by_conda == ["python=3.11", "numpy==2.0.0"]
    assert by_pip == ["-e ."]


def test_a_missing_pin_is_found(lock):
    """pytest needs pluggy, so a lock without it is not complete."""
    locked = locked_versions(lock)
    if installed_version("pytest") != locked["pytest"]:
        pytest.skip("installed pytest is not the locked one")
    del locked["pluggy"]
    assert any("pluggy" in fault for fault in missing_pins([Requirement("pytest")], locked))
