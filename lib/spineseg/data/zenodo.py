"""Fetch the files of a Zenodo record: with retries, resumed, and verified by their checksums.

The list of files, the licence and the citation come from the record itself, which Zenodo's API
serves (https://developers.zenodo.org).
"""

import hashlib
import json
import os
import re
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from tqdm import tqdm

from spineseg.utils.errors import UserError, write_error
from spineseg.utils.progress import progress_bar

ZENODO = "https://zenodo.org"
TRIES = 5  # in a row that gain nothing
FIRST_WAIT, LONGEST_WAIT = 1.0, 600.0  # s, between tries
TIMEOUT = 60  # s without a byte
CHUNK = 2**20  # bytes
LARGEST_RECORD = 2**24  # bytes of JSON
SHOWN_AUTHORS = 3
IN_BROWSER = "open it in a browser: your network may block it or ask you to log in"
RESUME = "check the network (behind a proxy, set HTTPS_PROXY) and run this again; it resumes"

Result = TypeVar("Result")


@dataclass(frozen=True)
class RecordFile:
    """A file of a record. All `addresses` serve it; the first is the one that the record names."""

    name: str
    size: int
    md5: str
    addresses: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """What a record says of itself. `licence` is '' if it names none."""

    page: str
    citation: str
    licence: str
    files: tuple[RecordFile, ...]


class _Passing(Exception):
    """A failure that may pass. `seconds` is how long the server asks to wait, or None."""

    def __init__(self, why: str, seconds: float | None = None) -> None:
        super().__init__(why)
        self.seconds = seconds


class _SameScheme(HTTPRedirectHandler):
    """Does not follow a redirect from https to another scheme."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        _refuse_other_scheme(newurl, like=req.full_url)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Zenodo:
    """A client of the server at `base`. `wait` sleeps for a number of seconds."""

    def __init__(self, base: str = ZENODO, wait: Callable[[float], None] = time.sleep) -> None:
        self.base = base
        self._wait = wait
        self._opener = build_opener(_SameScheme)

    def record(self, number: int) -> Record:
        """Ask for a record. Raises UserError if the server does not give one."""
        url = f"{self.base}/api/records/{number}"

        def ask() -> Record:
            with self._open(url) as response:
                text = _read(response, LARGEST_RECORD)
            try:
                return _parse(json.loads(text), f"{self.base}/records/{number}")
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                raise _Passing("did not answer with a record of Zenodo") from None

        return self._persist(url, ask)

    def fetch(self, file: RecordFile, folder: Path) -> Path:
        """Download a file into `folder`, which exists, unless it is there already.

        Until it is complete and its checksum is right, it is called `NAME.MD5.part`, which a later
        call resumes. Raises UserError if the file cannot be had or written.
        """
        target, part = folder / file.name, part_path(file, folder)
        if target.exists():
            if _is_right(target, file):
                return target
            print(f"{target}: differs from the record, downloaded again", file=sys.stderr)
        for _ in range(2):
            self._persist(file.name, lambda: self._resume(file, part), lambda: size_of(part))
            if _is_right(part, file):
                os.replace(part, target)
                return target
            part.unlink()
            print(f"{file.name}: arrived with a wrong checksum", file=sys.stderr)
        what = f"arrived twice with another checksum than the record's (md5 {file.md5})"
        remedy = "something on the way changes it, such as a proxy: try another network"
        raise UserError.at(file.addresses[0], what, remedy)

    def _persist(
        self, name: str, attempt: Callable[[], Result], progress: Callable[[], int] = lambda: 0
    ) -> Result:
        """The result of `attempt`, which is repeated until `TRIES` in a row gain nothing."""
        failures, most = 0, progress()
        while True:
            try:
                return attempt()
            except _Passing as failure:
                failures = 1 if progress() > most else failures + 1
                most = max(most, progress())
                if failures == TRIES:
                    raise UserError.at(name, f"{failure}, {TRIES} times", RESUME) from None
                seconds = failure.seconds or FIRST_WAIT * 2 ** (failures - 1)
                if seconds > LONGEST_WAIT:
                    remedy = f"the server asks you to run this again in {seconds / 60:.0f} minutes"
                    raise UserError.at(name, str(failure), remedy) from None
                print(f"{name}: {failure}; next try in {seconds:.0f} s", file=sys.stderr)
                self._wait(seconds)

    def _resume(self, file: RecordFile, part: Path) -> None:
        """Download what `part` lacks."""
        start = size_of(part)
        if start >= file.size > 0:
            return
        with self._open_at(file, start) as response:
            if response.status != 206:
                start = 0
                _refuse_other_size(response, file.size)
            try:
                with part.open("ab" if start else "wb") as out:
                    for chunk in _chunks(response, file, start):
                        out.write(chunk)
                    out.flush()
                    os.fsync(out.fileno())
            except OSError as error:
                raise write_error(part, error) from None
        if size_of(part) < file.size:
            raise _Passing("the connection was cut")

    def _open_at(self, file: RecordFile, start: int) -> HTTPResponse:
        """The file's bytes from `start` on (status 206) or, if no address gives these, all."""
        for url in file.addresses if start else ():
            with suppress(UserError):
                response = self._open(url, start)
                if response.status == 206 and _begins_at(response, start, file.size):
                    return response
                response.close()
        return self._open(file.addresses[0])

    def _open(self, url: str, start: int = 0) -> HTTPResponse:
        _refuse_other_scheme(url, like=self.base)
        headers = {"User-Agent": "spineseg", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        try:
            return self._opener.open(Request(url, headers=headers), timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            raise _failure(url, error.code, error.headers) from None
        except (OSError, HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                what = f"not trusted ({reason.verify_message})"
                remedy = "set SSL_CERT_FILE to the certificates that your network uses"
                raise UserError.at(url, what, remedy) from None
            raise _Passing(f"no connection ({reason})") from None


def part_path(file: RecordFile, folder: Path) -> Path:
    """The incomplete file. Another version of it would have another name."""
    return folder / f"{file.name}.{file.md5}.part"


def size_of(path: Path) -> int:
    """The size of a file in bytes, 0 if it does not exist."""
    return path.stat().st_size if path.exists() else 0


def _parse(content: dict[str, Any], page: str) -> Record:
    """Read a record. Raises what Python does if it is not like Zenodo's."""
    metadata, licence = content["metadata"], content["metadata"].get("license") or ""
    names = [creator["name"] for creator in metadata["creators"]]
    names[SHOWN_AUTHORS:] = ["et al."] if len(names) > SHOWN_AUTHORS else []
    year, title = metadata["publication_date"][:4], metadata["title"]
    return Record(
        page=page,
        citation=f"{'; '.join(names)} ({year}): {title}. Zenodo, doi:{content['doi']}",
        licence=str(licence["id"] if isinstance(licence, dict) else licence),
        files=tuple(_parse_file(file, page) for file in content.get("files", ())),
    )


def _parse_file(file: dict[str, Any], page: str) -> RecordFile:
    name, size, md5 = file["key"], file["size"], file["checksum"].removeprefix("md5:")
    if not re.fullmatch("[0-9a-f]{32}", md5) or not isinstance(size, int) or size < 0:
        raise ValueError("neither a checksum nor a size")
    link = quote(file["links"]["self"], safe="%!#$&'()*+,/:;=?@[]~")  # only what no address has
    # Zenodo may serve parts of a file only at the address that its pages link to.
    return RecordFile(name, size, md5, (link, f"{page}/files/{quote(name)}"))


def _refuse_other_scheme(url: str, like: str) -> None:
    if urlsplit(url).scheme != urlsplit(like).scheme:
        raise UserError.at(like, f"leads to {url}, which is not a safe address", IN_BROWSER)


def _refuse_other_size(response: HTTPResponse, size: int) -> None:
    """A page that asks you to log in must not replace what was downloaded."""
    if response.headers.get("Content-Length", str(size)) != str(size):
        raise _Passing("the answer has another size than the record says")


def _begins_at(response: HTTPResponse, start: int, size: int) -> bool:
    found = response.headers.get("Content-Range", "")
    return bool(re.fullmatch(rf"bytes {start}-[0-9]+/({size}|\*)", found))


def _failure(url: str, code: int, headers: Message) -> Exception:
    """The exception for an answer with an HTTP error."""
    if code in (408, 425, 429) or code >= 500:
        return _Passing(f"the server is busy (HTTP {code})", _retry_after(headers))
    if code in (404, 410):
        return UserError.at(
            url, f"not found (HTTP {code})", "the record may have moved: " + IN_BROWSER
        )
    return UserError.at(url, f"refused (HTTP {code})", IN_BROWSER)


def _retry_after(headers: Message) -> float | None:
    text = headers.get("Retry-After", "")
    if text.isdecimal():
        return float(text)
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return None


def _read(response: HTTPResponse, most: int) -> bytes:
    try:
        return response.read(most)
    except (OSError, HTTPException):
        raise _Passing("the connection was cut") from None


def _chunks(response: HTTPResponse, file: RecordFile, start: int) -> Iterator[bytes]:
    """The bytes of a file from `start` on, as far as they arrive."""
    left = file.size - start
    with _byte_bar(file.name, file.size, start) as bar:
        while left:
            try:
                chunk = response.read1(min(left, CHUNK))
            except (OSError, HTTPException):
                return
            if not chunk:
                return
            yield chunk
            left -= len(chunk)
            bar.update(len(chunk))


def _is_right(path: Path, file: RecordFile) -> bool:
    """Whether a file has the record's size and checksum."""
    if size_of(path) != file.size:
        return False
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stored, _byte_bar(f"verify {file.name}", file.size) as bar:
        while chunk := stored.read(CHUNK):
            md5.update(chunk)
            bar.update(len(chunk))
    return md5.hexdigest() == file.md5


def _byte_bar(words: str, size: int, start: int = 0) -> tqdm:
    return progress_bar(total=size, initial=start, desc=words, unit="B", unit_scale=True)
