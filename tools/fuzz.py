"""Feeds damaged scans, masks and profiles to the readers and to `data check`: `make fuzz`.

Each input must be read as an oracle reads it, or be refused in one line, within `SECONDS` and
`MEMORY`. Whatever breaks that is kept in runs/fuzz; `tools/fuzz.py --only .mha 17` shows one again.
"""

import argparse
import contextlib
import math
import os
import platform
import re
import resource
import sys
import tempfile
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from importlib.util import find_spec
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
import yaml

from spineseg.data.check import check_folder
from spineseg.data.volume import canonical_shape, read_mask, read_scan, read_volume, to_canonical
from spineseg.profiles import Profile, load_profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.utils.progress import progress_bar
from spineseg.workflow.provenance import commit, record, versions

sys.path.insert(0, str(paths.REPOSITORY / "tests"))
from mutants import KINDS, Mutant, mutant, sound

SECONDS = 20  # an input; the sound ones take hundredths
MEMORY = 64  # MiB over what the process had before
PER_VOXEL = 32  # bytes more for each voxel that a file truly holds: four copies in float64
ROOM = 4 << 30  # bytes of address space that a worker may add before the system says no
LINE = 500  # characters of a message, without the path
KEPT = "runs/fuzz"
TABLE = "results/reliability/fuzz.csv"
META_TYPES = {
    **{"MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"},
    **{"MET_INT": "i4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
ORACLE = "nibabel" if find_spec("nibabel") else "SimpleITK"


class Fault(Exception):
    """A rule that an input broke: its name in the table, and what happened."""


def examine(path: Path, other: bytes) -> Any:
    """What the readers make of a file: the volume or profile, or None where they refuse it.

    `other` is a sound file of the same kind, to go with it in a folder. Raises Fault.
    """
    if path.suffix == ".yaml":
        profile = _outcome(load_profile, path)
        return None if isinstance(profile, UserError) else profile
    outcomes = {read: _outcome(read, path) for read in (canonical_shape, read_scan, read_mask)}
    scan, mask = outcomes[read_scan], outcomes[read_mask]
    if not isinstance(scan, UserError):
        shape = to_canonical(scan).GetSize()[::-1]
        if outcomes[canonical_shape] != shape:
            raise Fault("wrong", f"header {outcomes[canonical_shape]}, volume {shape}")
    _examine_folder(path, other, {"MR": scan, "Mask": mask})
    return next((image for image in (scan, mask) if not isinstance(image, UserError)), None)


def _outcome(read: Any, path: Path) -> Any:
    try:
        return read(path)
    except UserError as error:
        line = str(error)
        if not line.isprintable() or not line.startswith(f"{path}: ") or "; " not in line:
            raise Fault("line", f"{read.__name__}: {line!r}") from None
        if len(line) - len(str(path)) > LINE:
            raise Fault("line", f"{read.__name__}: {len(line)} characters") from None
        return error
    except Exception as error:
        raise Fault("exception", f"{read.__name__}: {type(error).__name__}: {error}") from error


def _examine_folder(path: Path, other: bytes, outcomes: dict[str, Any]) -> None:
    """As scan beside a sound mask, then as mask beside a sound scan, through `check_folder`."""
    kind = path.name.removeprefix("x")
    for place, name, partner in (
        ("MR", "Case1", "Mask/mask_case1"),
        ("Mask", "mask_case1", "MR/Case1"),
    ):
        root = path.parent / f"{kind}-as-{place}"
        here, there = root / place / f"{name}{kind}", root / f"{partner}{kind}"
        for file in (here, there):
            file.parent.mkdir(parents=True, exist_ok=True)
        os.replace(path, here)
        there.write_bytes(other)
        try:
            report = check_folder(root)
        except Exception as error:
            raise Fault("exception", f"check: {type(error).__name__}: {error}") from error
        finally:
            os.replace(here, path)
        for finding in (*report.problems, *report.notes):
            line = str(finding)
            if not line.isprintable() or len(line) - len(str(here)) > LINE:
                raise Fault("line", f"check: {line[:LINE]!r}")
        about = [problem for problem in report.problems if problem.path == here]
        if isinstance(outcomes[place], UserError) != bool(about) and not report.problems:
            raise Fault("wrong", f"check as {place}: {len(about)} problems")
        if len(report.problems) + len(report.cases) != 1:
            raise Fault("wrong", f"check as {place}: {list(map(str, report.problems))}")


def compare(path: Path, accepted: Any) -> bool:
    """Whether an oracle takes the file too; raises Fault where it reads anything else."""
    if isinstance(accepted, Profile):
        if yaml.safe_load(path.read_bytes()) | {"name": accepted.name} != vars(accepted):
            raise Fault("wrong", "PyYAML reads other knobs")
        return True
    image = read_volume(path)
    values = sitk.GetArrayViewFromImage(image)
    try:
        theirs, grids = _in_a_child(_read_by_oracle, path, values.shape)
    except Exception:  # more than the oracle takes
        return False
    if not np.allclose(values, theirs, rtol=1e-5, atol=1e-9):
        raise Fault("wrong", "the oracle reads other voxels")
    ours = _grid(image)
    if not any(np.allclose(ours, grid, rtol=1e-3, atol=1e-3) for grid in grids):
        raise Fault("wrong", f"the oracle reads other places: {ours.tolist()} {np.array(grids)}")
    return True


def _in_a_child(read: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns in a process of its own, which may crash (EOFError) or print."""

    def answer() -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        theirs.send(read(*arguments))

    context = get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    child = context.Process(target=answer)
    child.start()
    theirs.close()
    try:
        return ours.recv()
    finally:
        child.join()


def _read_by_oracle(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The voxels, and the grids that the header states (one of them counts), in LPS.

    NIfTI is read by nibabel, where `make nnunet` has installed it, .mha by numpy, all else by
    SimpleITK from the file's own header: of .mha that may skip lines and make up voxels.
    """
    if path.suffix == ".mha":
        return _read_by_numpy(path, shape)
    if path.suffix != ".nrrd" and ORACLE == "nibabel":
        return _read_by_nibabel(path)
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), [_grid(image)]


def _read_by_numpy(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """A plainly written .mha; KeyError or ValueError for any other."""
    header, _, payload = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    fields = dict(re.findall(r"^(\w+) = (.*)$", header.decode(), re.MULTILINE))
    if fields["CompressedData"] == "True":
        payload = zlib.decompressobj().decompress(payload)
    order = ">" if fields["BinaryDataByteOrderMSB"] == "True" else "<"
    dtype = np.dtype(order + META_TYPES[fields["ElementType"].strip()])
    voxels = np.frombuffer(payload, dtype, count=math.prod(shape)).reshape(shape)
    offset, spacing, matrix = (
        np.array(fields[name].split(), float)
        for name in ("Offset", "ElementSpacing", "TransformMatrix")
    )
    return voxels, [np.column_stack([matrix.reshape(3, 3).T * spacing, offset])]


def _grid(image: sitk.Image) -> np.ndarray:
    """Millimetres in LPS of the origin and of one step along each axis: (3, 4)."""
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return np.column_stack([steps, image.GetOrigin()])


def _read_by_nibabel(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Voxels in SimpleITK's order, and the grids that the header states, in LPS."""
    import nibabel

    nibabel.imageglobals.logger.disabled = True
    image = nibabel.Nifti1Image.from_filename(path)
    values = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    units = {"meter": 1000, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1)
    lps = units * np.diag([-1, -1, 1])
    affines = [image.affine, image.get_qform(), image.get_sform(), image.header.get_base_affine()]
    return values.T, [lps @ affine[:3] for affine in affines]


def work(pipe: Any, folder: Path) -> None:
    """Examine what comes through the pipe: (kind, seed) in, the row of the input out."""
    errors = folder / "stderr"
    os.dup2(os.open(errors, os.O_CREAT | os.O_RDWR | os.O_APPEND), 2)
    with contextlib.suppress(EOFError):  # no more to do
        while True:
            kind, seed = pipe.recv()
            pipe.send(measure(kind, seed, mutant(kind, seed), folder, errors))


def measure(kind: str, seed: int, made: Mutant, folder: Path, errors: Path) -> dict[str, Any]:
    """Examine one input: its row of outcome, seconds and peak MiB."""
    path = folder / f"x{kind}"
    path.write_bytes(made.data)
    other = b"" if kind == ".yaml" else sound(kind, np.uint8, labels=False)
    os.truncate(errors, 0)
    before = _resident("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (_resident("VmSize") * 1024 + ROOM, -1))
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    started = time.perf_counter()
    seconds = mib = np.nan
    agreed = False
    try:
        accepted = examine(path, other)
        outcome, detail = "refused" if accepted is None else "accepted", ""
        seconds = time.perf_counter() - started
        mib = (_resident("VmHWM") - before) / 1024
        allowed = MEMORY + PER_VOXEL * made.voxels / 2**20
        if mib > allowed:
            raise Fault("memory", f"{mib:.0f} MiB, more than {allowed:.0f}")
        if noise := errors.read_text(errors="replace"):
            raise Fault("line", f"on stderr: {noise[:LINE]!r}")
        agreed = accepted is not None and compare(path, accepted)
    except Fault as fault:
        outcome, detail = fault.args
    row = {"kind": kind, "seed": seed, "recipe": made.recipe, "outcome": outcome}
    return {**row, "detail": detail, "seconds": seconds, "mib": mib, "agreed": agreed}


def _resident(what: str) -> int:
    """A line of this process's status, KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


class Worker:
    """A process that examines inputs; another takes its place when it crashes or hangs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=work, args=(theirs, self.folder))
        self.process.start()
        theirs.close()

    def __call__(self, kind: str, seed: int) -> dict[str, Any]:
        started = time.perf_counter()
        hung = False
        with contextlib.suppress(EOFError, BrokenPipeError):
            self.pipe.send((kind, seed))
            hung = not self.pipe.poll(SECONDS + 40)  # with making the input and starting up
            if not hung:
                row = self.pipe.recv()
                return row | {"outcome": "hang"} if row["seconds"] > SECONDS else row
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        self._start()
        return {
            "kind": kind,
            "seed": seed,
            "recipe": mutant(kind, seed).recipe,
            "outcome": "hang" if hung else "crash",
            "detail": f"exit code {code}",
            "seconds": time.perf_counter() - started,
            "mib": np.nan,
            "agreed": False,
        }


def examine_all(kinds: list[str], seeds: range, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for each kind and seed, in two processes."""
    inputs = [(kind, seed) for kind in kinds for seed in seeds]
    folders = [folder / str(number) for number in range(os.cpu_count() or 1)]
    for each in folders:
        each.mkdir()
    idle = [Worker(each) for each in folders]

    def one(job: tuple[str, int]) -> dict[str, Any]:
        worker = idle.pop()
        try:
            return worker(*job)
        finally:
            idle.append(worker)

    with ThreadPoolExecutor(len(idle)) as pool:
        yield from pool.map(one, inputs)
    for worker in idle:
        worker.pipe.close()
        worker.process.join()


def keep(row: dict[str, Any], folder: Path) -> None:
    """Save an input that broke a rule."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{row['outcome']}-{row['seed']}{row['kind']}"
    (folder / name).write_bytes(mutant(row["kind"], row["seed"]).data)


def summarise(rows: pd.DataFrame, seeds: range) -> pd.DataFrame:
    """A row a kind: how many inputs came to what, and the worst seconds and MiB."""
    table = []
    for kind, group in rows.groupby("kind", sort=False):
        count = Counter(group["outcome"])
        table.append(
            {
                "format": kind,
                "inputs": len(group),
                "refused": count.pop("refused", 0),
                "accepted": count.pop("accepted", 0),
                "as_the_oracle": int(group["agreed"].sum()),
                "crashes": count.pop("crash", 0),
                "hangs": count.pop("hang", 0),
                "over_memory": count.pop("memory", 0),
                "other": count.total(),
                "worst_seconds": group["seconds"].max(),
                "worst_mib": group["mib"].max(),
            }
        )
    used = [f"{name} {version(name)}" for name in ("SimpleITK", "numpy", "PyYAML", ORACLE)]
    stamp = {
        "seeds": f"{seeds.start}-{seeds.stop - 1}",
        "versions": ", ".join(dict.fromkeys(used)),
        "device": f"{platform.machine()} CPU",
    }
    return pd.DataFrame(table).assign(**stamp)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=2000, help="of each format")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--formats", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--only", nargs=2, metavar=("FORMAT", "SEED"), help="one input, in full")
    options = parser.parse_args()
    kept = paths.root() / KEPT
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        if options.only:
            kind, seed = options.only[0], int(options.only[1])
            path = folder / f"x{kind}"
            made = mutant(kind, seed)
            path.write_bytes(made.data)
            print(
                made.recipe, examine(path, b"" if kind == ".yaml" else sound(kind, np.uint8, False))
            )
            return 0
        seeds = range(options.first, options.first + options.inputs)
        rows = []
        total = len(options.formats) * len(seeds)
        examined = examine_all(options.formats, seeds, folder)
        for row in progress_bar(examined, desc="fuzz", total=total, unit="input"):
            rows.append(row)
            if row["outcome"] not in ("accepted", "refused"):
                keep(row, kept)
                print(*row.values(), file=sys.stderr)
    table = summarise(pd.DataFrame(rows), seeds)
    write_csv(paths.root() / TABLE, table)
    record((paths.root() / TABLE).parent, {"commit": commit(), "versions": versions()}, "any")
    print(table.drop(columns=["versions", "device"]).to_string(index=False))
    faults = table[["crashes", "hangs", "over_memory", "other"]].to_numpy().sum()
    print(f"{paths.root() / TABLE}: {len(rows)} inputs, {faults} broke a rule")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
