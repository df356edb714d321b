"""A folder of phantoms in the challenge's layout: names, orientation, spacing, storage types.

SimpleITK and tqdm are imported where files are written: simulating needs numpy and scipy only.
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
from spineseg.utils.processes import end_with_parent

# The paper's Table 1: (slices, rows, cols) and how many of its 172 volumes have that shape.
FULL_SHAPES = {
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
# How masks are stored, and how often; some of the challenge's are floating point.
MASK_TYPES = {"uint8": 0.6, "float32": 0.25, "uint16": 0.15}
COMPLETE, PARTIAL = "phantom.json", "phantom.partial.json"
PSR = (0.0, 0.0, -1.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0)  # axes' directions as columns, row by row


@dataclass(frozen=True)
class CasePlan:
    """All that a worker needs to write one case."""

    number: int  # from 1
    shape: tuple[int, int, int]
    mask_type: str
    seed: np.random.SeedSequence
    bodies_only: bool

    def paths(self, out: Path) -> tuple[Path, Path]:
        train = out / "train"
        return (
            train / "MR" / f"Case{self.number}.nii.gz",
            train / "Mask" / f"mask_case{self.number}.nii.gz",
        )

    def finished(self, out: Path) -> bool:
        return all(path.exists() for path in self.paths(out))


def plan_shapes(cases: int, scale: float, seed: int) -> list[tuple[int, int, int]]:
    """Shapes (slices, rows, cols) of a set: Table 1's very counts for 172 cases, else its odds.

    In-plane sizes are Table 1's times `scale`, rounded.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0,)))
    shapes, counts = list(FULL_SHAPES), np.array(list(FULL_SHAPES.values()))
    if cases == counts.sum():
        picks = rng.permutation(np.repeat(np.arange(len(shapes)), counts))
    else:
        picks = rng.choice(len(shapes), size=cases, p=counts / counts.sum())
    return [
        (slices, round(rows * scale), round(cols * scale))
        for slices, rows, cols in (shapes[pick] for pick in picks)
    ]


def plan_cases(cases: int, scale: float, seed: int, bodies_only: bool) -> list[CasePlan]:
    plans = []
    for number, shape in enumerate(plan_shapes(cases, scale, seed), start=1):
        own = np.random.SeedSequence(seed, spawn_key=(number,))
        draw = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number, 0)))
        mask_type = str(draw.choice(list(MASK_TYPES), p=list(MASK_TYPES.values())))
        plans.append(CasePlan(number, shape, mask_type, own, bodies_only))
    return plans


def write_psr(array: NDArray, spacing: tuple[float, float, float], path: Path) -> None:
    """Write a (slices, rows, cols) volume as NIfTI in PSR orientation, whole or not at all.

    `array` runs right to left, downwards and backwards; `spacing` in mm follows its axes.
    """
    import SimpleITK as sitk

    from spineseg.data.volume import write_image

    image = sitk.GetImageFromArray(np.ascontiguousarray(array[::-1, ::-1]))
    image.SetSpacing(tuple(float(step) for step in spacing[::-1]))
    image.SetDirection(PSR)
    centre = image.TransformContinuousIndexToPhysicalPoint(
        [(size - 1) / 2 for size in image.GetSize()]
    )
    image.SetOrigin([-coordinate for coordinate in centre])
    write_image(image, path)


def write_case(plan: CasePlan, out: Path) -> None:
    phantom = simulate(plan.shape, plan.seed, bodies_only=plan.bodies_only)
    image_path, mask_path = plan.paths(out)
    write_psr(phantom.image, phantom.spacing, image_path)
    write_psr(phantom.mask.astype(plan.mask_type), phantom.spacing, mask_path)


def write_cases(plans: list[CasePlan], out: Path, workers: int) -> Iterator[None]:
    """Write the cases in worker processes, yielding once for each that is done."""
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


def is_of_other_code(out: Path, settings: dict) -> bool:
    """Whether the folder holds a set of these settings that other code simulated.

    Raises ValueError if it holds anything else but a set of these settings.
    """
    from spineseg.utils.files import read_json

    for name in (COMPLETE, PARTIAL):
        if (out / name).exists():
            found = read_json(out / name, tuple(settings), f"remove {out} and run this again")
            found.pop("versions", None)
            if found | {"code": settings["code"]} != settings:
                raise ValueError(
                    f"{out} holds phantoms of other settings ({found}, asked for {settings}): "
                    "choose another folder or delete it"
                )
            return found["code"] != settings["code"]
    if (out / "train").exists():
        raise ValueError(
            f"{out} holds a train folder that is no phantom set: choose another folder"
        )
    return False


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

    `scale` multiplies Table 1's in-plane sizes; `workers` defaults to one for each core that this
    process may use. A finished set of the same settings is returned at once, an interrupted one is
    resumed, one that other code simulated is made again. ``phantom.json``, written last, marks a
    complete set. Of several that write one folder, each waits for the one before. Raises ValueError
    for settings that make no set and for a folder that holds anything else.
    """
    from spineseg.utils.files import folder_lock

    if cases < 1 or scale <= 0:
        raise ValueError(f"cases ({cases}) and scale ({scale}) must be positive")
    out = Path(out)
    settings = {
        "cases": cases,
        "scale": scale,
        "seed": seed,
        "bodies_only": bodies_only,
        "code": fingerprint.of_phantom(),
    }
    plans = plan_cases(cases, scale, seed, bodies_only)
    if is_of_other_code(out, settings) or not is_complete(out, plans):
        with folder_lock(out, wait=True):
            if is_of_other_code(out, settings):
                print(f"{out}: simulated by other code; simulated again", file=sys.stderr)
                shutil.rmtree(out / "train", ignore_errors=True)
            if not is_complete(out, plans):
                complete(out, settings, plans, workers, progress)
    return out


def is_complete(out: Path, plans: list[CasePlan]) -> bool:
    return (out / COMPLETE).exists() and all(plan.finished(out) for plan in plans)


def complete(
    out: Path, settings: dict, plans: list[CasePlan], workers: int | None, progress: bool
) -> None:
    """Write the cases that a folder lacks, and last that it is complete."""
    from joblib import cpu_count

    from spineseg.utils.files import write_json
    from spineseg.utils.progress import progress_bar

    record = settings | {"versions": {name: version(name) for name in ("spineseg", "numpy")}}
    (out / COMPLETE).unlink(missing_ok=True)
    write_json(out / PARTIAL, record)
    todo = [plan for plan in plans if not plan.finished(out)]
    workers = max(1, min(workers or cpu_count(), len(todo)))
    done = len(plans) - len(todo)
    bar = progress_bar(total=len(plans), initial=done, desc="phantom", unit="case", shown=progress)
    with bar:
        for _ in write_cases(todo, out, workers):
            bar.update()
    (out / PARTIAL).replace(out / COMPLETE)
