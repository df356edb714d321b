"""Write results/reliability/ddp_curves.csv: loss curves of two CPU processes beside those of one.

On the mini phantom, under the smoke profile and under the same with the paper's SGD, in three
precisions; in float32 also that of one process with two threads. tools/update_readme.py then puts
into docs/scaling.md how far the curves lie apart at most.
"""

import os
import platform
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

import pandas as pd

from spineseg.training.loop import load_checkpoint
from spineseg.utils import paths
from spineseg.utils.files import atomic_write, read_json
from spineseg.workflow.provenance import commit, record, versions

MODEL = "aspp_unet"
OUT = paths.REPOSITORY / "results" / "reliability" / "ddp_curves.csv"
PRECISIONS = {"float64": "64-true", "float32": "32-true", "bf16": "bf16-mixed"}
RUNS = [*product(PRECISIONS, (1, 2), (1,)), ("float32", 1, 2)]  # precision, processes, threads
SGD = {"optimizer: adamw": "optimizer: sgd", "schedule: onecycle": "schedule: exponential"}
COMMAND = """
import sys
from spineseg import cli
from spineseg.training import device
device._precision = lambda: sys.argv[1]
sys.exit(cli.main(sys.argv[2:]))
"""
LOSSES = ["train_loss", "test_loss"]


def curves_of(work: Path) -> pd.DataFrame:
    """A row an epoch of each run."""
    data = work / "data" / "phantom-mini"
    _spineseg(work, "", 1, "data", "phantom", data, "--cases", 10, "--scale", 1 / 16)
    smoke = (paths.PROFILES / "smoke.yaml").read_text()
    for old, new in SGD.items():
        smoke = smoke.replace(old, new)
    sgd = work / "smoke-sgd.yaml"
    sgd.write_text(smoke)
    tables = []
    for profile, (precision, processes, threads) in product(("smoke", sgd), RUNS):
        root = work / f"{Path(profile).stem}-{precision}-{processes}-{threads}"
        options = ["--data", data, "--profile", profile, "--model", MODEL, "--devices", processes]
        said = _spineseg(root, PRECISIONS[precision], threads, "train", *options)
        run = Path(said.splitlines()[-1])
        facts = read_json(run / "run.json")
        origin = {
            "data": "phantom-mini",
            "profile": facts["profile"]["name"],
            "device": facts["device"],
            "precision": precision,
            "processes": processes,
            "threads": threads,
            "model": MODEL,
        }
        log = pd.DataFrame(load_checkpoint(run)["log"])[["epoch", *LOSSES]]  # to the last digit
        tables.append(pd.DataFrame(origin, index=log.index).join(log))
    return pd.concat(tables, ignore_index=True)


def _spineseg(root: Path, precision: str, threads: int, *arguments: object) -> str:
    environment = {"SPINESEG_ROOT": str(root), "OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, precision, *map(str, arguments)],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        curves = curves_of(Path(folder))
    with atomic_write(OUT) as temporary:
        curves.to_csv(temporary, index=False, float_format="%.9g")
    record(OUT.parent, {"commit": commit(), "versions": versions()}, platform.machine())
    print(OUT)
