"""Damage sound scans, masks and profiles at random. Equal seeds give equal files.

`mutant(kind, seed)` knows the layout of each kind. Most mutants are therefore wrong in one place
only and pass the first checks.
"""

import gzip
import random
import struct
import tempfile
import zlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from scans import make_mask, make_scan
from spineseg.utils.paths import PROFILES

SCAN_KINDS = (".nii", ".nii.gz", ".mha", ".nrrd")
KINDS = (*SCAN_KINDS, ".yaml")
BOMB_BYTES = 1 << 28  # what a small file expands to


class Mutant(NamedTuple):
    """A file's content, what was done to it, and the number of voxels it holds if it is large."""

    data: bytes
    recipe: str
    voxels: int = 0


def mutant(kind: str, seed: int) -> Mutant:
    """The damaged file of a kind (one of `KINDS`) and a seed."""
    rng = random.Random(f"{kind} {seed}")
    if kind == ".yaml":
        return Mutant(*_damage_profile(rng))
    if kind in (".nii", ".nii.gz") and rng.random() < 0.02:
        return _large_volume(kind)
    data, recipe = {".mha": _damage_mha, ".nrrd": _damage_nrrd}.get(kind, _damage_nifti)(kind, rng)
    if rng.random() < 0.15:
        data, more = _damage_bytes(data, rng)
        recipe = f"{recipe}, {more}"
    return Mutant(data, recipe)


@cache
def sound_file(kind: str, dtype: type, labels: bool, compressed: bool = True) -> bytes:
    """A sound scan or mask as a file of that kind."""
    image = make_mask(dtype=dtype) if labels else make_scan(dtype=dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{kind}"
        sitk.WriteImage(image, str(path), compressed)
        return path.read_bytes()


def _random_sound_file(kind: str, rng: random.Random) -> bytes:
    dtype = rng.choice((np.uint8, np.int16, np.int16, np.uint16, np.int32, np.float32, np.float64))
    return sound_file(kind, dtype, rng.random() < 0.5, rng.random() < 0.5)


# Fields of the NIfTI header: (offset, struct layout).
NIFTI_FIELDS = {
    "sizeof_hdr": (0, "i"),
    "dim_info": (39, "b"),
    **{f"dim[{i}]": (40 + 2 * i, "h") for i in range(8)},
    **{f"intent_p{i + 1}": (56 + 4 * i, "f") for i in range(3)},
    "intent_code": (68, "h"),
    "datatype": (70, "h"),
    "bitpix": (72, "h"),
    "slice_start": (74, "h"),
    **{f"pixdim[{i}]": (76 + 4 * i, "f") for i in range(8)},
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "slice_end": (120, "h"),
    "slice_code": (122, "b"),
    "xyzt_units": (123, "b"),
    "cal_max": (124, "f"),
    "toffset": (136, "f"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    **{f"quatern_{axis}": (256 + 4 * i, "f") for i, axis in enumerate("bcd")},
    **{f"qoffset_{axis}": (268 + 4 * i, "f") for i, axis in enumerate("xyz")},
    **{f"srow[{i}]": (280 + 4 * i, "f") for i in range(12)},
    "extension": (348, "i"),
    "esize": (352, "i"),
}
NIFTI_TEXTS = {"db_name": (14, 18), "descrip": (148, 80), "aux_file": (228, 24), "magic": (344, 4)}
INTEGERS = (
    -32768,
    -2,
    -1,
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    9,
    16,
    64,
    128,
    255,
    256,
    512,
    1024,
    2304,
    32767,
)
FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e-45, 1e-20, 1e-3, 1e4, 1e9, 1e30, 3e38, -3e38)
FLOATS = (*FLOATS, 347.0, 348.0, 352.0, 353.5, 1e3, float("nan"), float("inf"), -float("inf"))


def _damage_nifti(kind: str, rng: random.Random) -> tuple[bytes, str]:
    raw = bytearray(_random_sound_file(".nii", rng))
    done = []
    if rng.random() < 0.1:
        raw = bytearray(_big_endian(bytes(raw)))
        done.append("big-endian")
    order = ">" if done else "<"
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        name = rng.choice([*NIFTI_FIELDS, *NIFTI_TEXTS, "voxel"])
        if name == "voxel":
            at = 352 + rng.randrange(len(raw) - 360)
            raw[at : at + 8] = struct.pack(rng.choice("<>") + "d", rng.choice(FLOATS))
        elif name in NIFTI_TEXTS:
            offset, length = NIFTI_TEXTS[name]
            texts = (bytes(length), b"\xff" * length, rng.randbytes(length), b"ni1\0", b"n+2\0")
            raw[offset : offset + length] = rng.choice(texts)[:length].ljust(length, b"A")
        else:
            offset, layout = NIFTI_FIELDS[name]
            if layout == "f":
                value = rng.choice((*FLOATS, rng.uniform(-500, 500)))
            else:
                size = struct.calcsize(layout) * 8
                value = rng.choice((*INTEGERS, rng.getrandbits(size)))
                value = (value + (1 << size - 1)) % (1 << size) - (1 << size - 1)
            struct.pack_into(order + layout, raw, offset, value)
        done.append(name)
    data = bytes(raw)
    if kind == ".nii.gz":
        data, how = _damaged_gzip(data, rng)
        done.append(how)
    if not done or rng.random() < 0.15:
        data, how = _damage_bytes(data, rng)
        done.append(how)
    return data, ", ".join(done)


def _big_endian(raw: bytes) -> bytes:
    """The same NIfTI file in big-endian byte order."""
    swapped = bytearray(raw)
    for offset, layout in NIFTI_FIELDS.values():
        if offset < 348:
            struct.pack_into(
                f">{layout}", swapped, offset, *struct.unpack_from(f"<{layout}", raw, offset)
            )
    size = struct.unpack_from("<h", raw, 72)[0] // 8
    voxels = np.frombuffer(raw, f"V{size}", offset=352)
    voxels = voxels.view(f"u{size}").byteswap() if size > 1 else voxels
    return bytes(swapped[:352]) + voxels.tobytes()


def _large_volume(kind: str) -> Mutant:
    """A sound, large volume of zeros, except for one voxel. Compressed, it is a small file."""
    side = 256
    raw = bytearray(sound_file(".nii", np.uint8, False)[:352]) + bytes(side**3)
    struct.pack_into("<4h", raw, 40, 3, side, side, side)
    raw[-1] = 1
    data = bytes(raw) if kind == ".nii" else gzip.compress(raw, 1)
    return Mutant(data, "large", side**3)


def _damaged_gzip(raw: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Compress bytes: mostly as usual, else in a rare way or a wrong one."""
    whole = gzip.compress(raw, rng.choice((0, 1, 9)))
    half = len(raw) // 2
    ways: dict[str, Callable[[], bytes]] = {
        "two members": lambda: gzip.compress(raw[:half]) + gzip.compress(raw[half:]),
        "one member per byte": lambda: b"".join(
            gzip.compress(raw[i : i + 1], 1) for i in range(len(raw))
        ),
        "empty members": lambda: gzip.compress(b"") * 2000 + whole,
        "empty members after": lambda: whole + gzip.compress(b"") * 2000,
        "zeros after": lambda: whole + bytes(rng.choice((1, 100, 10**6))),
        "noise after": lambda: whole + rng.randbytes(rng.choice((1, 7, 100, 10**5))),
        "bomb after": lambda: whole + _compressed_zeros(gzip.compress),
        "bomb instead": lambda: _compressed_zeros(gzip.compress),
        "bomb in one": lambda: _zeros_in_same_member(raw),
        "zlib": lambda: zlib.compress(raw),
        "raw deflate": lambda: zlib.compress(raw)[2:-4],
        "twice": lambda: gzip.compress(whole),
        "wrong length": lambda: whole[:-4] + rng.randbytes(4),
        "wrong checksum": lambda: whole[:-8] + rng.randbytes(4) + whole[-4:],
        "no trailer": lambda: whole[:-8],
        "long name": lambda: whole[:3] + b"\x08" + whole[4:10] + b"n" * 10**6 + b"\0" + whole[10:],
        "endless name": lambda: whole[:3] + b"\x08" + whole[4:10] + b"n" * 10**6,
        "huge extra": lambda: whole[:3] + b"\x04" + whole[4:10] + b"\xff\xff" + whole[10:],
        "other method": lambda: whole[:2] + b"\x07" + whole[3:],
        "not compressed": lambda: raw,
    }
    if rng.random() < 0.6:
        return whole, "gzip"
    name = rng.choice(list(ways))
    return ways[name](), name


@cache
def _compressed_zeros(compress: Callable[[bytes], bytes]) -> bytes:
    return compress(bytes(BOMB_BYTES))


@cache
def _zeros_in_same_member(raw: bytes) -> bytes:
    """One gzip member that continues with zeros after the volume."""
    return gzip.compress(raw + bytes(BOMB_BYTES // 8), 1)


HEADER_VALUES = (
    *(
        b"",
        b"0",
        b"1",
        b"-1",
        b"3",
        b"2",
        b"4",
        b"10",
        b"12 14 10",
        b"2 2 2",
        b"0 0 0",
        b"-1 -1 -1",
    ),
    *(b"10 14", b"10 14 12 1", b"10 14 12 99999", b"99999999999999999999", b"9" * 400),
    *(b"2147483648 1 1", b"65536 65536 65536", b"4294967297 2 2", b"1e3 2 2", b"0.5 0.5 0.5"),
    *(b"nan nan nan", b"inf 1 1", b"-0.5 0.5 4", b"0 1 1", b"1e-300 1 1", b"1e300 1e300 1e300"),
    *(
        b"1 0 0 0 1 0 0 0 1",
        b"0 0 0 0 0 0 0 0 0",
        b"nan 0 0 0 1 0 0 0 1",
        b"1 1e-309 0 0 1 0 0 0 1",
        b"9 0 0 0 9 0 0 0 9",
    ),
    *(
        b"1 1 0 0 1 0 0 0 1",
        b"1 0 0",
        b"True",
        b"False",
        b"true",
        b"T",
        b"LOCAL",
        b"LIST",
        b"x.raw",
    ),
    *(
        b"/etc/passwd",
        b"/dev/zero",
        b"pattern%d.raw 1 12 1",
        b"MET_CHAR",
        b"MET_DOUBLE",
        b"MET_OTHER",
    ),
    *(
        b"MET_CHAR_ARRAY",
        b"MET_LONG_LONG",
        b"float",
        b"double",
        b"block",
        b"uchar",
        b"int8",
        b"raw",
    ),
    *(
        b"gzip",
        b"gz",
        b"ascii",
        b"hex",
        b"bzip2",
        b"zrl",
        b"little",
        b"big",
        b"both",
        b"left-posterior",
    ),
    *(b"(1,0,0) (0,1,0) (0,0,1)", b"none (0,1,0) (0,0,1)", b"(nan,0,0) (0,1,0) (0,0,1)"),
    *(
        b"(0,0,0) (0,1,0) (0,0,1)",
        b"(1,0,0) (1,0,0) (0,0,1)",
        b"(1e300,0,0) (0,1e300,0) (0,0,1e300)",
    ),
    *(b"(1,1,0) (0,1,0) (0,0,1)", b"domain domain domain", b"list domain domain", b"RGB-color x y"),
    *("脊椎 é \u202e".encode(), b"\xff\xfe\x80", b"\0\1\2", b"A" * 300, b"A" * 5000, b"A" * 70000),
    *(b"%s%n%x" * 9, b"\x1b[31m", b"\r", b"a\rb", b"\t\t", b" " * 3000, b"1 " * 3000, b"(" * 2000),
)
MHA_KEYS = (
    *(b"ObjectType", b"NDims", b"DimSize", b"ElementType", b"ElementSpacing", b"ElementSize"),
    *(b"ElementDataFile", b"CompressedData", b"CompressedDataSize", b"BinaryData", b"Offset"),
    *(b"BinaryDataByteOrderMSB", b"ElementByteOrderMSB", b"TransformMatrix", b"CenterOfRotation"),
    *(b"AnatomicalOrientation", b"ElementNumberOfChannels", b"HeaderSize", b"Comment", b"Name"),
    *(b"Modality", b"SequenceID", b"ElementMin", b"ElementMax", b"ElementToIntensityFunctionSlope"),
    *(b"Position", b"Orientation", b"Rotation", b"Origin", b"Color", b"ID", b"ParentID", b"Key"),
    *(b"ElementNBits", b"DistanceUnits", b"AcquisitionDate", b"ObjectSubType", b"CompressionLevel"),
)
NRRD_KEYS = (
    *(b"type", b"dimension", b"sizes", b"encoding", b"endian", b"space", b"space directions"),
    *(b"space origin", b"space dimension", b"spacings", b"thicknesses", b"kinds", b"centerings"),
    *(b"byte skip", b"line skip", b"byteskip", b"lineskip", b"data file", b"datafile", b"content"),
    *(b"block size", b"min", b"max", b"old min", b"axis mins", b"axis maxs", b"labels", b"units"),
    *(b"measurement frame", b"space units", b"number", b"sample units", b"keyvalue"),
)


def _damage_mha(kind: str, rng: random.Random) -> tuple[bytes, str]:
    header, payload = _split_after(_random_sound_file(kind, rng), b"ElementDataFile = LOCAL\n")
    return _damage_text(header, payload, MHA_KEYS, b" = ", rng)


def _damage_nrrd(kind: str, rng: random.Random) -> tuple[bytes, str]:
    header, payload = _split_after(_random_sound_file(kind, rng), b"\n\n")
    return _damage_text(header, payload, NRRD_KEYS, b": ", rng)


def _split_after(data: bytes, end: bytes) -> tuple[bytes, bytes]:
    at = data.index(end) + len(end)
    return data[:at], data[at:]


def _damage_text(
    header: bytes, payload: bytes, keys: tuple[bytes, ...], between: bytes, rng: random.Random
) -> tuple[bytes, str]:
    """Damage a file with a text header: change, drop, repeat or add lines, or damage the voxels."""
    lines = header.split(b"\n")
    done = []

    def change() -> None:
        at = rng.randrange(len(lines))
        key = lines[at].split(between)[0]
        lines[at] = key + between + rng.choice(HEADER_VALUES)

    def nudge() -> None:
        at = rng.randrange(len(lines))
        line = bytearray(lines[at] or b"x")
        where = rng.randrange(len(line))
        line[where : where + 1] = rng.choice((b"", b"-", b"9", b"e", b"\0", b"\xff", b" ", b"0"))
        lines[at] = bytes(line)

    def drop() -> None:
        del lines[rng.randrange(len(lines) - 1)]

    def repeat() -> None:
        at = rng.randrange(len(lines) - 1)
        lines.insert(rng.randrange(len(lines)), lines[at])

    def contradict() -> None:
        at = rng.randrange(len(lines) - 1)
        key = lines[at].split(between)[0]
        lines.insert(rng.randrange(len(lines)), key + between + rng.choice(HEADER_VALUES))

    def add() -> None:
        key = rng.choice(keys)
        key = rng.choice((key, key.upper(), key.lower(), b" " + key))
        line = key + rng.choice((between, between, b"=", b":", b":=")) + rng.choice(HEADER_VALUES)
        lines.insert(rng.randrange(len(lines)), line)

    def shuffle() -> None:
        rng.shuffle(lines)

    def windows() -> None:
        lines[:] = [line + b"\r" for line in lines]

    def damage() -> None:
        nonlocal payload
        stored = payload
        ways: tuple[Callable[[], bytes], ...] = (
            lambda: b"",
            lambda: stored[: rng.randrange(len(stored))],
            lambda: stored + bytes(10**6),
            lambda: gzip.compress(stored),
            lambda: _compressed_zeros(gzip.compress),
            lambda: _compressed_zeros(zlib.compress),
            lambda: rng.randbytes(len(stored)),
            lambda: stored[:2] + rng.randbytes(4) + stored[6:],
        )
        payload = rng.choice(ways)()

    ways = (change, change, change, nudge, nudge, drop, repeat, contradict, add, add, add)
    for way in rng.choices((*ways, shuffle, windows, damage), k=rng.choice((1, 1, 1, 2, 3))):
        if len(lines) > 2:
            way()
            done.append(way.__name__)
    return b"\n".join(lines) + payload, ", ".join(done)


def _damage_bytes(data: bytes, rng: random.Random) -> tuple[bytes, str]:
    """Damage bytes without regard to the format."""

    def flip() -> bytes:
        out = bytearray(data)
        for _ in range(rng.choice((1, 1, 4, 50))):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
        return bytes(out)

    def splice() -> bytes:
        first, last = sorted(rng.choices(range(len(data)), k=2))
        return data[:first] + rng.randbytes(rng.choice((0, 1, 8))) + data[last:]

    ways: dict[str, Callable[[], bytes]] = {
        "flipped": flip,
        "flipped again": flip,
        "spliced": splice,
        "cut": lambda: data[: rng.randrange(len(data))],
        "cut early": lambda: data[: rng.randrange(min(len(data), 400))],
        "doubled": lambda: data * 2,
        "after blanks": lambda: bytes(rng.choice((1, 2, 16))) + data,
        "empty": lambda: b"",
        "noise": lambda: rng.randbytes(rng.choice((1, 352, 5000))),
        "zeros": lambda: bytes(rng.choice((1, 348, 10**6))),
        "of another kind": lambda: _random_sound_file(rng.choice(SCAN_KINDS), rng),
        "a web page": lambda: b"<!DOCTYPE html>\n<html>404 Not Found</html>\n" * 20,
    }
    if not data:
        return data, "empty"
    name = rng.choice(list(ways))
    return ways[name](), name


YAML_VALUES = (
    *("0", "-1", "1", "2", "3", "1000000000", "-9223372036854775809", "9" * 30, "9" * 5000),
    *("0x" + "f" * 5000, "0b1" + "0" * 9000, "1:" * 3000 + "1", "1_000", "0o17", "017"),
    *(
        ".nan",
        ".inf",
        "-.inf",
        "1.0e+400",
        "-1.0e-400",
        "0.0",
        "-0.5",
        "1e-3",
        "1.0e-30",
        "1.0e+30",
    ),
    *("true", "yes", "no", "null", "~", "", "sgd", "adamw", "onecycle", "exponential", "'5'", '"x'),
    *("2001-01-01", "2001-99-99", "2001-01-01 99:99:99", "!!int abc", "!!float x", "!!bool maybe"),
    *(
        "!!timestamp x",
        "!!null 5",
        "!!int ''",
        "!!str 5",
        "!!binary /w==",
        "!!binary é",
        "!",
        "! 5",
    ),
    *("!!python/object/apply:os.system ['touch hacked']", "!!python/name:os.system", "!mine 5"),
    *(
        "!!python/object/new:os.system [touch hacked]",
        "!!set {a, b}",
        "!!omap [a: 1]",
        "!!pairs [a: 1]",
    ),
    *(
        "[1, 2]",
        "{a: 1}",
        "[" * 20,
        "[" * 3000 + "]" * 3000,
        "{a: " * 2000 + "}" * 2000,
        "- 1",
        "? 1",
    ),
    *(
        "*unknown",
        "&a 5",
        "&a [*a]",
        "|\n  5",
        ">\n  5",
        "A" * 60000,
        "é脊椎",
        "\x1b[31m",
        "\x00",
        "\x85",
    ),
    *("\ud7ff", "\ufeff5", "\u202e5", "%YAML 9.9", "@5", "`5`", "5 # five", "5: 6", "5 6", "\t5"),
)
YAML_LINES = (
    "<<: {epochs: 7}\n",
    "<<: *a\n",
    "<<: 5\n",
    "---\n",
    "...\n",
    "%YAML 1.1\n---\n",
    "%TAG ! tag:yaml.org,2002:python/\n---\n",
    "? [1, 2]\n: 3\n",
    "? {a: 1}\n: 3\n",
    "? " * 1500 + "1\n",
    "- " * 1500 + "1\n",
    "5: 5\n",
    "null: 5\n",
    "true: 5\n",
    "name: x\n",
    "colour: red\n",
    "\t\n",
    "# " + "c" * 30000 + "\n",
    "".join(f"setting{i}: {i}\n" for i in range(3000)),
    "A" * 5000 + ": 5\n",
    "\x1b]0;title\x07: 5\n",
    "\u2028: 5\n",
)


def _nested_aliases(depth: int, merge: bool) -> str:
    """Aliases of aliases ('billion laughs'): 9 ** `depth` values in a few lines."""
    lines = ["a0: &a0 {k: 1}" if merge else "a0: &a0 [lol]"]
    for level in range(1, depth + 1):
        nine = ", ".join([f"*a{level - 1}"] * 9)
        body = f"{{<<: [{nine}]}}" if merge else f"[{nine}]"
        lines.append(f"a{level}: &a{level} {body}")
    return "\n".join(lines) + "\n"


def _damage_profile(rng: random.Random) -> tuple[bytes, str]:
    text = (PROFILES / f"{rng.choice(('smoke', 'laptop', 'paper'))}.yaml").read_text()
    lines = text.splitlines(keepends=True)
    done = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(lines))
        setting = lines[at].split(":")[0]
        name = rng.choice(
            (*("value",) * 8, "drop", "repeat", "contradict", "part", "laughs", "indent", "nothing")
        )
        if name == "value":
            lines[at] = f"{setting}: {rng.choice(YAML_VALUES)}\n"
        elif name == "drop":
            del lines[at]
        elif name == "repeat":
            lines.insert(rng.randrange(len(lines)), lines[at])
        elif name == "contradict":
            lines.insert(rng.randrange(len(lines)), f"{setting}: {rng.choice(YAML_VALUES)}\n")
        elif name == "part":
            lines.insert(rng.randrange(len(lines)), rng.choice(YAML_LINES))
        elif name == "laughs":
            at = rng.randrange(len(lines))
            lines.insert(at, _nested_aliases(rng.choice((2, 5, 9)), rng.random() < 0.5))
            lines.append(f"{setting}: *a1\n")
        elif name == "indent":
            lines[at] = rng.choice((" ", "  ", "\t")) + lines[at]
        done.append(f"{name} {setting}" if name == "value" else name)
    data = "".join(lines).encode()
    encoding = rng.choice((*("utf-8",) * 12, "utf-8-sig", "utf-16", "utf-32"))
    if encoding != "utf-8":
        data = data.decode().encode(encoding)
        done.append(encoding)
    if rng.random() < 0.1:
        data, how = _damage_bytes(data, rng)
        done.append(how)
    if rng.random() < 0.01:
        data = b"[" * 10**6
        done = ["a million brackets"]
    return data, ", ".join(done)
