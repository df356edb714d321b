"""The commit of the code and the versions of the packages that made a result."""

import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

from spineseg.utils import paths

PACKAGES = ("spineseg", "torch", "SimpleITK", "monai", "numpy", "pandas", "scipy", "scikit-learn")
CODE = ("lib", "profiles", ":!profiles/tuned.csv")  # if changed, the code is another
NO_COMMIT = "unknown"


def commit() -> str:
    """The git commit of the code, followed by `+changes` if the code was edited since."""
    try:
        if not paths.REPOSITORY.samefile(_git("rev-parse", "--show-toplevel")):
            return NO_COMMIT  # a download within a clone of something else
        return _git("rev-parse", "HEAD")[:12] + "+changes" * bool(_git("status", "-s", *CODE))
    except (OSError, subprocess.CalledProcessError):  # no git here, or not a clone
        return NO_COMMIT


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(paths.REPOSITORY), *arguments]
    return subprocess.run(command, check=True, capture_output=True, encoding="utf-8").stdout.strip()


def versions(packages: Iterable[str] = PACKAGES) -> dict[str, str]:
    """The versions of Python and of these packages."""
    return {"python": platform.python_version(), **{name: _version(name) for name in packages}}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
