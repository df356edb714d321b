"""A folder of phantoms in the challenge's layout: names, orientation, spacing, storage types.

SimpleITK and tqdm are imported only where files are written: `simulate` needs no more than numpy
and scipy.
"""

import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spineseg import fingerprint
from spineseg.phantom.simulate import simulate
from spineseg.utils.errors import UserError
from spineseg.utils.processes import end_with_parent

# Table 1 of the paper: (slices, rows, columns), and how many of the 172 volumes have that shape.
TABLE1_SHAPES = {
    (12, 880, 880): 126,
    (15, 880, 880): 32,
    (12, 1008, 1008): 4,
    (12, 512, 512): 3,
    (15, 960, 960): 2,
    (12, 864, 864): 2,
    (15, 896, 896): 1,
    (12, 960, 960): 1,
    (12, 1024, 1024): 1,
}
MASK_TYPES = {"uint8": 0.6, "float32": 0.25, "uint16": 0.15}  # storage types and their shares
# The record of a set's settings, under its first name once the set is complete.
COMPLETE_RECORD, PARTIAL_RECORD = "phantom.json", "phantom.partial.json"
PSR_DIRECTION = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # 3 x 3, row by row; axes in columns
OTHER_FOLDER = "choose another folder"


@dataclass(frozen=True)
class CasePlan:
    """All that a worker needs to write one case."""

    number: int  # from 1
    shape: tuple[int, int, int]  # slices, rows, columns
    mask_type: str
    seed: np.random.SeedSequence
    bodies_only: bool

    def paths(self, out: Path) -> tuple[Path, Path]:
        """The files of the image and of the mask in the set `out`."""
        train = out / "train"
        return (
            train / "MR" / f"Case{self.number}.nii.gz",
            train / "Mask" / f"mask_case{self.number}.nii.gz",
        )

    def is_written(self, out: Path) -> bool:
        """Whether both files exist."""
        return all(path.exists() for path in self.paths(out))


def write_dataset(
    out: Path,
    cases: int = 172,
    scale: float = 0.125,
    seed: int = 0,
    *,
    bodies_only: bool = False,
    workers: int | None = None,
    progress: bool = True,
) -> Path:
    """Write phantoms as ``train/MR/Case{n}.nii.gz`` and ``train/Mask/mask_case{n}.nii.gz``.

    `scale` multiplies the in-plane sizes of Table 1. `bodies_only` is that of `simulate`. `workers`
    is the number of processes, by default one per core that this process may use. They are spawned,
    so a script must call this under ``if __name__ == "__main__":``.

    A finished set of the same settings is returned at once. An interrupted one is resumed, and one
    that other code simulated is replaced. ``phantom.json`` is written last and marks a complete
    set. Processes that write the same folder take turns. Raises ValueError if `cases` or `scale` is
    not positive, and UserError if the folder holds anything else than a set of these settings.
    """
    from spineseg.utils.locks import folder_lock

    if cases < 1 or scale <= 0:
        raise ValueError(f"cases ({cases}) and scale ({scale}) must be positive")
    out = Path(out)
    settings = {
        "cases": cases,
        "scale": scale,
        "seed": seed,
        "bodies_only": bodies_only,
        "code": fingerprint.phantom_code(),
    }
    plans = plan_cases(cases, scale, seed, bodies_only)
    if is_outdated(out, settings) or not is_complete(out, plans):
        with folder_lock(out, wait=True):
            if is_outdated(out, settings):
                print(f"{out}: simulated by other code; simulating it again", file=sys.stderr)
                remove_cases(out)
            if not is_complete(out, plans):
                write_missing(out, settings, plans, workers, progress)
    return out


# -- the plan -----------------------------------------------------------------------------------


def plan_shapes(cases: int, scale: float, seed: int) -> list[tuple[int, int, int]]:
    """Shapes (slices, rows, columns) of a set's cases.

    172 cases have the shapes of Table 1 in its numbers; any other number of cases draws from them
    in its proportions. In-plane sizes are those of Table 1 times `scale`, rounded.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    shapes, counts = list(TABLE1_SHAPES), np.array(list(TABLE1_SHAPES.values()))
    if cases == counts.sum():
        picks = rng.permutation(np.repeat(np.arange(len(shapes)), counts))
    else:
        picks = rng.choice(len(shapes), size=cases, p=counts / counts.sum())
    return [
        (slices, round(rows * scale), round(cols * scale))
        for slices, rows, cols in (shapes[pick] for pick in picks)
    ]


def plan_cases(cases: int, scale: float, seed: int, bodies_only: bool) -> list[CasePlan]:
    """The plans of a set's cases; each has a seed of its own, derived from `seed`."""
    plans = []
    for number, shape in enumerate(plan_shapes(cases, scale, seed), start=1):
        case_seed = np.random.SeedSequence(seed, spawn_key=(number,))
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 0)))
        mask_type = str(rng.choice(list(MASK_TYPES), p=list(MASK_TYPES.values())))
        plans.append(CasePlan(number, shape, mask_type, case_seed, bodies_only))
    return plans


# -- the state of a folder ----------------------------------------------------------------------


def is_complete(out: Path, plans: list[CasePlan]) -> bool:
    """Whether the set has its final record and all files."""
    return (out / COMPLETE_RECORD).exists() and all(plan.is_written(out) for plan in plans)


def is_outdated(out: Path, settings: dict) -> bool:
    """Whether the folder holds a set of these settings that other code simulated.

    Raises UserError if it holds anything else than a set of these settings.
    """
    from spineseg.utils.files import read_json

    for name in (COMPLETE_RECORD, PARTIAL_RECORD):
        if (out / name).exists():
            found = read_json(out / name, tuple(settings), f"remove {out} and run this again")
            found.pop("versions", None)
            if found | {"code": settings["code"]} != settings:
                what = f"holds phantoms of other settings ({found}, asked for {settings})"
                raise UserError.at(out, what, f"{OTHER_FOLDER} or delete it")
            return found["code"] != settings["code"]
    if (out / "train").exists():
        raise UserError.at(out, "holds a train folder that is no phantom set", OTHER_FOLDER)
    return False


def remove_cases(out: Path) -> None:
    """Remove a set's scans. Raises OSError if a file is in use, so that no old case is kept."""
    if (out / "train").exists():
        shutil.rmtree(out / "train")


# -- writing ------------------------------------------------------------------------------------


def write_missing(
    out: Path, settings: dict, plans: list[CasePlan], workers: int | None, progress: bool
) -> None:
    """Write the cases that a folder lacks, and finally the record of a complete set."""
    from spineseg.utils.files import write_json
    from spineseg.utils.processes import count_cores
    from spineseg.utils.progress import progress_bar

    record = settings | {"versions": {name: version(name) for name in ("spineseg", "numpy")}}
    (out / COMPLETE_RECORD).unlink(missing_ok=True)
    write_json(out / PARTIAL_RECORD, record)
    missing = [plan for plan in plans if not plan.is_written(out)]
    workers = max(1, min(workers or count_cores(), len(missing)))
    done = len(plans) - len(missing)
    bar = progress_bar(total=len(plans), initial=done, desc="phantom", unit="case", shown=progress)
    with bar:
        for _ in write_cases(missing, out, workers):
            bar.update()
    (out / PARTIAL_RECORD).replace(out / COMPLETE_RECORD)


def write_cases(plans: list[CasePlan], out: Path, workers: int) -> Iterator[None]:
    """Write the cases in worker processes; yield once per finished case."""
    if workers == 1:
        for plan in plans:
            write_case(plan, out)
            yield
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent)
    try:
        for job in as_completed([pool.submit(write_case, plan, out) for plan in plans]):
            job.result()
            yield
    finally:
        pool.shutdown(cancel_futures=True)


def write_case(plan: CasePlan, out: Path) -> None:
    """Simulate one case and write its image and mask."""
    phantom = simulate(plan.shape, plan.seed, bodies_only=plan.bodies_only)
    image_path, mask_path = plan.paths(out)
    write_psr(phantom.image, phantom.spacing, image_path)
    write_psr(phantom.mask.astype(plan.mask_type), phantom.spacing, mask_path)


def write_psr(array: NDArray, spacing: tuple[float, float, float], path: Path) -> None:
    """Write a volume (slices, rows, columns) as NIfTI in PSR orientation, atomically.

    In `array`, slices run from right to left, rows downwards and columns backwards. `spacing` is
    mm between slices, rows and columns.
    """
    import SimpleITK as sitk

    from spineseg.data.volume import write_image

    image = sitk.GetImageFromArray(np.ascontiguousarray(array[::-1, ::-1]))
    image.SetSpacing(tuple(float(step) for step in spacing[::-1]))
    image.SetDirection(PSR_DIRECTION)
    centre = image.TransformContinuousIndexToPhysicalPoint(
        [(size - 1) / 2 for size in image.GetSize()]
    )
    image.SetOrigin([-coordinate for coordinate in centre])
    write_image(image, path)
