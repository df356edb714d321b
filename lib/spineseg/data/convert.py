"""Bring SPIDER to the challenge's layout: one scan a patient, the challenge's names and labels."""

import sys
from pathlib import Path

import SimpleITK as sitk

from spineseg.data.layouts import Key, SpiderFolder
from spineseg.data.volume import (
    canonical_shape,
    geometry_mismatch,
    read_mask,
    read_scan,
    write_image,
)
from spineseg.labels import CHALLENGE_LABELS, SPIDER_LABELS, relabel, unknown_labels
from spineseg.utils.errors import UserError
from spineseg.utils.files import read_json, write_json
from spineseg.utils.progress import progress_bar

COMPLETE, PARTIAL = "source.json", "source.partial.json"
ORIGIN = {
    "set": "SPIDER",
    "version": "Zenodo record 10159290, doi:10.5281/zenodo.10159290",
    "licence": "CC BY 4.0",
    "cite": "van der Graaf et al. 2024, doi:10.1038/s41597-024-03090-w",
    "labels": {  # of the set: in the challenge
        str(label): CHALLENGE_LABELS.index(name)
        for label, name in enumerate(SPIDER_LABELS)
        if name in CHALLENGE_LABELS
    },
    "other labels": 0,
}


def convert(source: Path, out: Path) -> Path:
    """Write a SPIDER folder's scans and masks into `out`/train in the challenge's layout.

    Of each patient the T2 series, else the T2 SPACE series; voxels and grid stay what they are.
    `out`/source.json, written last, tells what the set was made from. What an interrupted call has
    written is kept. Says on stderr what was left out. Raises UserError where `source` is not
    SPIDER or `out` holds anything else, and UserError, after all that is sound was written, with
    everything that is not.
    """
    folder = SpiderFolder(source)
    chosen: dict[int, Key] = {}
    for key in folder.claimed():  # T2 before T2 SPACE
        chosen.setdefault(key[0], key)
    targets = {key: _targets(number, out) for number, key in chosen.items()}
    _refuse_other(out, {file for pair in targets.values() for file in pair})
    for part in ("MR", "Mask"):
        (out / "train" / part).mkdir(parents=True, exist_ok=True)
    if not (out / COMPLETE).exists():
        write_json(out / PARTIAL, ORIGIN)
    written, problems = 0, []
    for key, target in progress_bar(targets.items(), desc="convert", unit="case"):
        try:
            written += _convert_case(_pair(folder, key), target)
        except UserError as error:
            problems.append(*error.problems)
    for line in _summary(folder, chosen, written, len(problems)):
        print(line, file=sys.stderr)
    if problems:
        raise UserError(*problems)
    series = {f"Case{number}": folder.case_id(key) for number, key in chosen.items()}
    write_json(out / COMPLETE, ORIGIN | {"cases": series})
    (out / PARTIAL).unlink(missing_ok=True)
    return out


def _targets(number: int, out: Path) -> tuple[Path, Path]:
    train = out / "train"
    return train / "MR" / f"Case{number}.nii.gz", train / "Mask" / f"mask_case{number}.nii.gz"


def _refuse_other(out: Path, targets: set[Path]) -> None:
    """Raise UserError if the folder holds anything but a whole or partial set of these files."""
    records = [out / name for name in (COMPLETE, PARTIAL) if (out / name).exists()]
    for record in records:
        if not _of_this_origin(record):
            raise UserError.at(record, "tells of another set or mapping", "choose another folder")
    allowed = {*targets, *records} if records else set()
    for path in sorted(out.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(out).parts)
        if path.is_file() and not hidden and path not in allowed:
            raise UserError.at(path, "was not made from this set", "choose another folder")


def _of_this_origin(record: Path) -> bool:
    try:
        found = read_json(record)
    except ValueError:
        return False
    return isinstance(found, dict) and ORIGIN.items() <= found.items()


def _pair(folder: SpiderFolder, key: Key) -> tuple[Path, Path]:
    images, masks = folder.images.get(key, []), folder.masks.get(key, [])
    if len(images) != 1 or len(masks) != 1:
        what = f"{len(images)} scans and {len(masks)} masks of this series"
        raise UserError.at((*images, *masks)[0], what, "leave one of each")
    return images[0], masks[0]


def _convert_case(pair: tuple[Path, Path], targets: tuple[Path, Path]) -> bool:
    """Write scan and mask; False where both are there already. Raises UserError for bad files."""
    shape = canonical_shape(pair[0])
    if all(_holds(target, shape) for target in targets):
        return False
    scan, mask = read_scan(pair[0]), read_mask(pair[1])
    if mismatch := geometry_mismatch(mask, scan):
        what = f"does not fit {pair[0]}: {mismatch}"
        raise UserError.at(pair[1], what, "copy both again")
    stored = sitk.GetArrayViewFromImage(mask)
    if odd := unknown_labels(stored, SPIDER_LABELS):
        labels = ", ".join(map(str, odd))
        print(f"note: {pair[1]}: labels that stand for nothing: {labels}", file=sys.stderr)
    labelled = sitk.GetImageFromArray(relabel(stored, SPIDER_LABELS, CHALLENGE_LABELS))
    labelled.CopyInformation(mask)
    for image, target in zip((scan, labelled), targets, strict=True):
        write_image(image, target)
    return True


def _holds(target: Path, shape: tuple[int, int, int]) -> bool:
    """Whether a whole file of that shape is there."""
    try:
        return canonical_shape(target) == shape
    except UserError:
        return False


def _summary(folder: SpiderFolder, chosen: dict[int, Key], written: int, bad: int) -> list[str]:
    kept = len(chosen) - written - bad
    lines = [f"{len(chosen)} patients: {written} written, {kept} kept as they were, {bad} bad"]
    if spare := [folder.case_id(key) for key in folder.claimed() if key not in chosen.values()]:
        lines.append(f"left out, for the challenge has one scan a patient: {', '.join(spare)}")
    lines += [f"note: {path}: {what}; {becomes}" for path, what, becomes in folder.remarks()]
    return lines
