"""Give damaged scans, masks and profiles to the readers and to `data check` (`make fuzz`; Linux).

The readers must read each input as another library does (the oracle) or refuse it in one line,
within limits of time and memory. Inputs that break a rule are kept in runs/fuzz;
`tools/fuzz.py --only .mha 17` examines a single one.
"""

import argparse
import contextlib
import math
import os
import platform
import re
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
from spineseg.evaluation.provenance import record
from spineseg.profiles import Profile, load_profile
from spineseg.utils import paths
from spineseg.utils.errors import UserError
from spineseg.utils.files import write_csv
from spineseg.utils.progress import progress_bar
from spineseg.utils.versions import commit, versions

sys.path.insert(0, str(paths.REPOSITORY / "tests"))
from mutants import KINDS, Mutant, mutant, sound_file

MAX_SECONDS = 20  # per input; sound ones take hundredths of a second
START_SECONDS = 40  # allowed on top for starting a worker and making the input
MAX_MIB = 64  # more than the process used before
BYTES_PER_VOXEL = 32  # allowed on top for each voxel that a file holds: four copies in float64
MAX_ADDRESS_SPACE = 4 << 30  # bytes that a worker may add before the system refuses
MAX_MESSAGE = 500  # characters, without the path
KEPT_INPUTS = "runs/fuzz"
TABLE = "results/reliability/fuzz.csv"
META_TYPES = {
    **{"MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2"},
    **{"MET_INT": "i4", "MET_FLOAT": "f4", "MET_DOUBLE": "f8"},
}
ORACLE = "nibabel" if find_spec("nibabel") else "SimpleITK"


class RuleBroken(Exception):
    """The rule that an input broke (its name in the table), and what happened."""


def examine(path: Path, other: bytes) -> Any:
    """The volume or profile that the readers get from a file, or None if they refuse it.

    `other` is a sound file of the same kind, its partner in a folder. Raises RuleBroken.
    """
    if path.suffix == ".yaml":
        profile = _outcome(load_profile, path)
        return None if isinstance(profile, UserError) else profile
    outcomes = {read: _outcome(read, path) for read in (canonical_shape, read_scan, read_mask)}
    scan, mask = outcomes[read_scan], outcomes[read_mask]
    if not isinstance(scan, UserError):
        shape = to_canonical(scan).GetSize()[::-1]
        if outcomes[canonical_shape] != shape:
            raise RuleBroken("wrong", f"header {outcomes[canonical_shape]}, volume {shape}")
    _examine_folder(path, other, {"MR": scan, "Mask": mask})
    return next((image for image in (scan, mask) if not isinstance(image, UserError)), None)


def _outcome(read: Any, path: Path) -> Any:
    try:
        return read(path)
    except UserError as error:
        for line in map(str, error.problems):
            if not line.isprintable() or not line.startswith(f"{path}: ") or "; " not in line:
                raise RuleBroken("line", f"{read.__name__}: {line!r}") from None
            if len(line) - len(str(path)) > MAX_MESSAGE:
                raise RuleBroken("line", f"{read.__name__}: {len(line)} characters") from None
        return error
    except Exception as error:
        raise RuleBroken(
            "exception", f"{read.__name__}: {type(error).__name__}: {error}"
        ) from error


def _examine_folder(path: Path, other: bytes, outcomes: dict[str, Any]) -> None:
    """Check the file as a scan with a sound mask, then as a mask with a sound scan."""
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
            raise RuleBroken("exception", f"check: {type(error).__name__}: {error}") from error
        finally:
            os.replace(here, path)
        for line in map(str, (*report.problems, *report.notes)):
            if not line.isprintable() or len(line) - len(str(here)) > MAX_MESSAGE:
                raise RuleBroken("line", f"check: {line[:MAX_MESSAGE]!r}")
        of_files = [problem for problem in report.problems if problem.path != root]  # not of labels
        if isinstance(outcomes[place], UserError) and not of_files:
            raise RuleBroken("wrong", f"check as {place}: no problem")
        if len(of_files) + len(report.cases) != 1:
            raise RuleBroken("wrong", f"check as {place}: {list(map(str, report.problems))}")


def compare(path: Path, accepted: Any) -> bool:
    """Whether the oracle reads the file too. Raises RuleBroken if it reads anything else."""
    if isinstance(accepted, Profile):
        if yaml.safe_load(path.read_bytes()) | {"name": accepted.name} != vars(accepted):
            raise RuleBroken("wrong", "PyYAML reads other settings")
        return True
    image = read_volume(path)
    values = sitk.GetArrayViewFromImage(image)
    try:
        theirs, grids = _run_in_child(_read_by_oracle, path, values.shape)
    except Exception:  # the oracle refuses the file
        return False
    if not np.allclose(values, theirs, rtol=1e-5, atol=1e-9):
        raise RuleBroken("wrong", "the oracle reads other voxels")
    ours = _grid(image)
    if not any(np.allclose(ours, grid, rtol=1e-3, atol=1e-3) for grid in grids):
        raise RuleBroken(
            "wrong", f"the oracle reads other places: {ours.tolist()} {np.array(grids)}"
        )
    return True


def _run_in_child(read: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a child process, which may crash (EOFError) or print."""

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
    """The voxels, and the grids that the header states in LPS, of which one is valid.

    NIfTI is read by nibabel if that is installed (`make nnunet`), and .mha by numpy, because
    SimpleITK may skip lines of its header and make up voxels. SimpleITK reads the rest.
    """
    if path.suffix == ".mha":
        return _read_by_numpy(path, shape)
    if path.suffix != ".nrrd" and ORACLE == "nibabel":
        return _read_by_nibabel(path)
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), [_grid(image)]


def _read_by_numpy(path: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Read an .mha file in its usual form. Raises KeyError or ValueError for any other."""
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
    """One step along each axis, and the origin, in millimetres (LPS): (3, 4)."""
    steps = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    return np.column_stack([steps, image.GetOrigin()])


def _read_by_nibabel(path: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """Voxels in SimpleITK's order, and the grids that the header states in LPS."""
    import nibabel

    nibabel.imageglobals.logger.disabled = True
    image = nibabel.Nifti1Image.from_filename(path)
    values = np.asanyarray(image.dataobj).reshape(image.shape[:3])
    units = {"meter": 1000, "micron": 0.001}.get(image.header.get_xyzt_units()[0], 1)
    lps = units * np.diag([-1, -1, 1])
    affines = [image.affine, image.get_qform(), image.get_sform(), image.header.get_base_affine()]
    return values.T, [lps @ affine[:3] for affine in affines]


def work(pipe: Any, folder: Path) -> None:
    """Receive (kind, seed) from the pipe, examine that input and send its row, until it closes."""
    errors = folder / "stderr"
    os.dup2(os.open(errors, os.O_CREAT | os.O_RDWR | os.O_APPEND), 2)
    with contextlib.suppress(EOFError):  # the pipe was closed
        while True:
            kind, seed = pipe.recv()
            pipe.send(measure(kind, seed, mutant(kind, seed), folder, errors))


def measure(kind: str, seed: int, made: Mutant, folder: Path, errors: Path) -> dict[str, Any]:
    """Examine one input and return its row: outcome, seconds, peak MiB."""
    import resource  # Unix only

    path = folder / f"x{kind}"
    path.write_bytes(made.data)
    other = b"" if kind == ".yaml" else sound_file(kind, np.uint8, labels=False)
    os.truncate(errors, 0)
    before = _memory_kib("VmRSS")
    resource.setrlimit(resource.RLIMIT_AS, (_memory_kib("VmSize") * 1024 + MAX_ADDRESS_SPACE, -1))
    Path("/proc/self/clear_refs").write_text("5")  # resets the peak
    started = time.perf_counter()
    seconds = mib = np.nan
    agreed = False
    try:
        accepted = examine(path, other)
        outcome, detail = "refused" if accepted is None else "accepted", ""
        seconds = time.perf_counter() - started
        mib = (_memory_kib("VmHWM") - before) / 1024
        allowed = MAX_MIB + BYTES_PER_VOXEL * made.voxels / 2**20
        if mib > allowed:
            raise RuleBroken("memory", f"{mib:.0f} MiB, more than {allowed:.0f}")
        if noise := errors.read_text(errors="replace"):
            raise RuleBroken("line", f"on stderr: {noise[:MAX_MESSAGE]!r}")
        agreed = accepted is not None and compare(path, accepted)
    except RuleBroken as broken:
        outcome, detail = broken.args
    row = {"kind": kind, "seed": seed, "recipe": made.recipe, "outcome": outcome}
    return {**row, "detail": detail, "seconds": seconds, "mib": mib, "agreed": agreed}


def _memory_kib(what: str) -> int:
    """A line of this process's status in KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{what}:"))


class Worker:
    """A process that examines inputs. It is replaced if it crashes or hangs."""

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
            hung = not self.pipe.poll(MAX_SECONDS + START_SECONDS)
            if not hung:
                row = self.pipe.recv()
                return row | {"outcome": "hang"} if row["seconds"] > MAX_SECONDS else row
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
    """Yield a row for each kind and seed, using one process per core."""
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
    """One row per kind: the number of inputs with each outcome, and the largest seconds and MiB."""
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
    parser.add_argument("--inputs", type=int, default=2000, help="per format")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--formats", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--only", nargs=2, metavar=("FORMAT", "SEED"), help="examine one input")
    options = parser.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        parser.error("needs Linux, because it measures memory through /proc")
    kept = paths.root() / KEPT_INPUTS
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        folder = Path(name)
        if options.only:
            kind, seed = options.only[0], int(options.only[1])
            path = folder / f"x{kind}"
            made = mutant(kind, seed)
            path.write_bytes(made.data)
            print(
                made.recipe,
                examine(path, b"" if kind == ".yaml" else sound_file(kind, np.uint8, False)),
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
    broken = table[["crashes", "hangs", "over_memory", "other"]].to_numpy().sum()
    print(f"{paths.root() / TABLE}: {len(rows)} inputs, {broken} broke a rule")
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
