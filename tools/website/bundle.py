"""MathJax and NiiVue from npm: one file each, checked against a hash, never committed."""

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from spineseg.utils.files import atomic_write


@dataclass(frozen=True)
class Package:
    """A file of an npm package; `sha512` is that of the packed version, as npm's lock files say."""

    name: str
    version: str
    sha512: str
    file: str

    @property
    def script(self) -> str:
        """The file's name on the site."""
        return Path(self.file).name

    @property
    def folder(self) -> str:
        """The folder of the file among the site's static files."""
        return self.name.rpartition("/")[2]


MATHJAX = Package(
    "mathjax",
    "3.2.2",
    "Bt+SSVU8eBG27zChVewOicYs7Xsdt40qm4+UpHyX7k0/O9NliPc+x77k1/FEsPsjKPZGJvtRZM1vO+geW0OhGw==",
    "es5/tex-svg-full.js",
)
NIIVUE = Package(
    "@niivue/niivue",
    "0.69.0",
    "YMjQvJgD1W2b7DuoxkwlC4VxbrgIePRJ5qyQzXKxi2v2MBVg285P/CIQyg46oDDGDIcaNlbd+MhtO/edMbXJkA==",
    "dist/niivue.umd.js",
)


def bundle(package: Package, kept: Path) -> Path | None:
    """The package's file in the folder `kept`, fetched if it is missing; None without npm.

    A package with another hash than the pinned one is refused.
    """
    script = kept / f"{package.name.replace('/', '-')}-{package.version}" / package.script
    if script.is_file():
        return script
    npm = shutil.which("npm")
    if npm is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        command = [npm, "pack", "--silent", f"{package.name}@{package.version}"]
        fetched = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        archives = list(Path(folder).glob("*.tgz"))
        if fetched.returncode or len(archives) != 1:
            print(f"npm: {fetched.stderr.strip()}", file=sys.stderr)
            return None
        content = archives[0].read_bytes()
        if integrity(content) != package.sha512:
            raise SystemExit(f"{package.name} {package.version} is not the package that is pinned")
        with tarfile.open(archives[0]) as archive:
            member = archive.extractfile(f"package/{package.file}")
            assert member is not None
            with atomic_write(script) as partial:
                partial.write_bytes(member.read())
    return script


def integrity(content: bytes) -> str:
    """The hash that npm keeps of a packed package."""
    return base64.b64encode(hashlib.sha512(content).digest()).decode()
