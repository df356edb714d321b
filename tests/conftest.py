"""A small phantom set and a trained smoke run, made once for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

# Everywhere else each run tries new examples; CI tries the same ones for the same code.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--faults", action="store_true", help="all of test_faults (long)")
    parser.addoption("--graph", action="store_true", help="all of test_results (long)")
    parser.addoption("--site", action="store_true", help="test the site that was built (long)")


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks start from the same weights in each run of a test."""
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """A test that changes torch's number of threads changes the weights that later tests train."""
    threads = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == threads


@pytest.fixture(scope="session")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten cases at 1/16 of the challenge's size, as a data folder."""
    from spineseg.phantom import write_dataset

    return write_dataset(
        tmp_path_factory.mktemp("data") / "phantom-mini", 10, 1 / 16, progress=False
    )


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for cache, runs and results."""
    monkeypatch.setenv("SPINESEG_ROOT", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="session")
def trained(phantom: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The workspace of a smoke experiment on the mini phantom, made by the command line."""
    from spineseg import cli

    root = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPINESEG_ROOT", str(root))
        experiment = ["--data", str(phantom), "--profile", "smoke"]
        run = root / "runs" / "phantom-mini-smoke" / "aspp_unet-fold-0-seed-0"
        assert cli.main(["train", *experiment]) == 0
        assert cli.main(["evaluate", str(run)]) == 0
        assert cli.main(["gather", *experiment, "--models", "aspp_unet"]) == 0
        assert cli.main(["tables", *experiment]) == 0
    return root
