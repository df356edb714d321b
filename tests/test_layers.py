"""The imports of the package go down only, as the contract in pyproject.toml says."""

import subprocess
import sys
from pathlib import Path

from spineseg.utils.paths import REPOSITORY


def test_imports_keep_the_layers():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kept, 0 broken" in done.stdout
