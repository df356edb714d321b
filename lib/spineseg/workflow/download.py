"""Download a public data set and convert it to the challenge's layout."""

import re
import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from spineseg.data.convert import ORIGINS, PARTIAL_RECORD, RECORD, convert
from spineseg.data.layouts import ChuFolder, LabelledFolder, SpiderFolder
from spineseg.data.unpack import contents, is_archive, unpack
from spineseg.data.zenodo import Record, RecordFile, Zenodo, part_path, size_of
from spineseg.utils.errors import UserError, write_error
from spineseg.utils.files import read_json
from spineseg.utils.locks import folder_lock
from spineseg.utils.processes import shell_line

STORE, SCANS = ".download", "scans"
GIB = 2**30
UNPACKED, CONVERTED = 3, 1  # sizes to expect, as multiples of what is downloaded
ANOTHER_FOLDER = "give a new or an empty folder"
SEE_RECORD = "read there what has become of the data"


@dataclass(frozen=True)
class DataSet:
    """A record of Zenodo whose scans have the layout `layout`.

    `files` is a pattern of the names of the record's files that are used; it must have those in
    `needed`. `scans` is a pattern of the names of scans and masks. `folders` says into which folder
    of the layout those in an archive go.
    """

    record: int
    layout: type[LabelledFolder]
    files: str
    needed: tuple[str, ...]
    scans: str
    folders: dict[str, str]


CHU_SCANS = r"img_[0-9]+(_labels)?\.nii(\.gz)?"
DATA_SETS = {
    "spider": DataSet(
        record=10159290,
        layout=SpiderFolder,
        files=r"images\.zip|masks\.zip|overview\.csv|radiological_gradings\.csv",
        needed=("images.zip", "masks.zip"),
        scans=r"[0-9]+_(t1|t2|t2_space)\.mha",
        folders={"images.zip": "images", "masks.zip": "masks"},
    ),
    "chu": DataSet(
        record=22304,
        layout=ChuFolder,
        files=rf"[\w .()-]+\.(zip|tar|tar\.gz|tgz)|{CHU_SCANS}",
        needed=(),
        scans=CHU_SCANS,
        folders={},
    ),
}


def download(name: str, folder: Path, server: Zenodo | None = None) -> Path:
    """Download the data set `name` of `DATA_SETS`, convert it into `folder`, and return that.

    What was downloaded stays in `folder`/.download. A later call resumes an interrupted one.
    Raises UserError if there is no room or if something cannot be had, unpacked or converted.
    """
    data_set, store = DATA_SETS[name], folder / STORE
    if not _is_complete(data_set, folder):
        try:
            (store / SCANS).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(store, error) from None
        with folder_lock(store):
            files = _fetch(data_set, store, server or Zenodo())
            unpacked = _unpack(data_set, files, store / SCANS)
            convert(store / SCANS, folder)
            _remove(unpacked)
    _print_next(folder, store)
    return folder


def _is_complete(data_set: DataSet, folder: Path) -> bool:
    """Whether the folder holds the whole data set. Raises UserError if it holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise UserError.at(folder, "a file, not a folder", ANOTHER_FOLDER)
    for record in (folder / RECORD, folder / PARTIAL_RECORD):
        if record.exists():
            if read_json(record, ["set"])["set"] != ORIGINS[data_set.layout]["set"]:
                raise UserError.at(record, "describes another data set", ANOTHER_FOLDER)
            return record.name == RECORD
    if folder.exists() and any(not path.name.startswith(".") for path in folder.iterdir()):
        raise UserError.at(folder, "holds other files", ANOTHER_FOLDER)
    return False


def _fetch(data_set: DataSet, store: Path, server: Zenodo) -> list[Path]:
    """Download the files of the record that are used: scans into a folder of their own."""
    record = server.record(data_set.record)
    files = [each for each in record.files if re.fullmatch(data_set.files, each.name, re.I | re.A)]
    names = {file.name.lower() for file in files}
    if lacking := [name for name in data_set.needed if name not in names]:
        raise UserError.at(record.page, f"lacks {', '.join(lacking)}", SEE_RECORD)
    if not files or len(names) < len(files):
        raise UserError.at(record.page, "does not list the files of scans", SEE_RECORD)
    _print_terms(record, ORIGINS[data_set.layout]["cite"])
    is_scan = re.compile(data_set.scans, re.I | re.A).fullmatch
    places = {file: store / SCANS if is_scan(file.name) else store for file in files}
    if lacking_bytes := sum(file.size - _arrived(file, place) for file, place in places.items()):
        total = sum(file.size for file in files)
        needed = lacking_bytes + (UNPACKED + CONVERTED) * total
        _check_room(store, needed, "to download, unpack and convert it")
    return [server.fetch(file, place) for file, place in places.items()]


def _arrived(file: RecordFile, place: Path) -> int:
    """How many bytes of a file were downloaded by earlier calls."""
    arrived = max(size_of(place / file.name), size_of(part_path(file, place)))
    return min(arrived, file.size)


def _print_terms(record: Record, article: str) -> None:
    licence = record.licence or "none named in the record; ask the authors before you use the data"
    for line in (record.page, f"licence: {licence}", f"cite: {record.citation}", f"and {article}"):
        print("".join(letter for letter in line if letter.isprintable()), file=sys.stderr)


def _unpack(data_set: DataSet, files: list[Path], scans: Path) -> list[Path]:
    """Unpack the archives into the folder `scans`. Returns what was in them."""
    archives = {
        file: scans / data_set.folders.get(file.name.lower(), "")
        for file in files
        if is_archive(file.name)
    }
    sizes: dict[Path, int] = {}
    for archive, place in archives.items():
        found = contents(archive, data_set.scans)
        sizes |= {place / name: size for name, size in found.items()}
    lacking = sum(size for path, size in sizes.items() if size_of(path) != size)
    converted = CONVERTED * sum(map(size_of, files))
    _check_room(scans, lacking + converted, "to unpack and convert it")
    for archive, place in archives.items():
        unpack(archive, data_set.scans, place)
    return list(sizes)


def _check_room(folder: Path, needed: int, why: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        what = f"needs about {needed / GIB:.1f} GiB {why}, {free / GIB:.1f} GiB are free"
        raise UserError.at(folder, what, "make room, or give a folder on a larger disk")


def _remove(unpacked: list[Path]) -> None:
    """Remove what the archives hold too, and folders that are empty then."""
    for path in unpacked:
        path.unlink()
    for folder in {path.parent for path in unpacked}:
        with suppress(OSError):
            folder.rmdir()


def _print_next(folder: Path, store: Path) -> None:
    if store.exists():
        size = sum(size_of(path) for path in store.rglob("*") if path.is_file()) / GIB
        kept = f"{size:.1f} GiB as they were downloaded; remove it if you need the room"
        print(f"{store}: {kept}", file=sys.stderr)
    place = shell_line([str(folder.resolve())])
    print(
        f"next: make reproduce DATA={place} (or: python make.py reproduce --data {place})",
        file=sys.stderr,
    )
