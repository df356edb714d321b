"""Downloads, from a server on this machine that answers as Zenodo does."""

import hashlib
import io
import json
import re
import shutil
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.error import URLError
from urllib.parse import unquote

import numpy as np
import pytest
import SimpleITK as sitk

from scans import make_mask, make_scan, write, write_spider
from spineseg import cli
from spineseg.data import unpack as unpacking
from spineseg.data import zenodo
from spineseg.data.check import check_folder
from spineseg.data.layouts import ChallengeFolder
from spineseg.data.unpack import contents, unpack
from spineseg.data.zenodo import TRIES, RecordFile, Zenodo, part_path
from spineseg.utils.errors import UserError
from spineseg.workflow import download as downloading
from spineseg.workflow.download import DATA_SETS, download

SPIDER, CHU = 10159290, 22304
BYTES = bytes(range(256)) * 40  # of the file that most tests download


class Server(ThreadingHTTPServer):
    """Serves records as https://developers.zenodo.org describes them, with faults on request.

    `ranges` names the addresses that serve parts of files; `cuts` are the numbers of bytes after
    which the next answers with a file end; `answers` are canned (status, headers, body) that come
    before all else.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.base = f"http://127.0.0.1:{self.server_port}"
        self.records: dict[int, dict] = {}
        self.files: dict[str, bytes] = {}
        self.ranges = {"/api/", "/records/"}
        self.cuts: list[int] = []
        self.answers: list[tuple[int, dict, bytes]] = []
        self.asked: list[tuple[str, str]] = []  # path, Range
        self.chunked = False  # answers do not tell their size
        self.shift = 0  # of the parts it serves against those that were asked for

    def publish(self, number: int, files: dict[str, bytes], licence: object = "cc-by-4.0") -> None:
        self.files |= files
        entries = [
            {
                "id": f"0000-{position}",
                "key": name,
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{self.base}/api/records/{number}/files/{name}/content"},
            }
            for position, (name, content) in enumerate(files.items())
        ]
        self.records[number] = {
            "id": number,
            "doi": f"10.5281/zenodo.{number}",
            "metadata": {
                "title": "Lumbar spines",
                "publication_date": "2023-11-20",
                "access_right": "open",
                "creators": [{"name": f"Author, {letter}."} for letter in "ABCD"],
                "license": {"id": licence} if isinstance(licence, str) else licence,
            },
            "files": entries,
        }

    @property
    def asked_files(self) -> list[tuple[str, str]]:
        """The name and the range of each file that was asked for."""
        found = [(re.search("/files/([^/]+)", path), part) for path, part in self.asked]
        return [(unquote(match[1]), part) for match, part in found if match]


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, part = self.server, self.headers.get("Range", "")
        server.asked.append((self.path, part))
        if server.answers:
            return self._answer(*server.answers.pop(0))
        if record := re.fullmatch("/api/records/([0-9]+)", self.path):
            return self._answer(200, {}, json.dumps(server.records[int(record[1])]).encode())
        name = re.match("(/api)?/records/[0-9]+/files/([^/]+)", self.path)
        content = server.files[unquote(name[2])]
        cut = server.cuts.pop(0) if server.cuts else None
        start = int(part.removeprefix("bytes=").removesuffix("-")) if part else 0
        if not part or not any(self.path.startswith(place) for place in server.ranges):
            return self._answer(200, {}, content, cut)
        if start >= len(content):
            return self._answer(416, {"Content-Range": f"bytes */{len(content)}"})
        start += server.shift
        found = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        return self._answer(206, found, content[start:], cut)

    def _answer(self, code: int, headers: dict, body: bytes = b"", cut: int | None = None) -> None:
        self.send_response(code)
        chunked = self.server.chunked and body
        size = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": len(body)}
        for name, value in {**size, **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if chunked:
            end = b"" if cut else b"\r\n0\r\n\r\n"
            self.wfile.write(b"%x\r\n%b%b" % (len(body), body[:cut], end))
        else:
            self.wfile.write(body[:cut])
        self.close_connection = True


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        server.publish(1, {"scans.zip": BYTES})
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def waits() -> list[float]:
    """The seconds that the client waited, without waiting."""
    return []


@pytest.fixture
def client(server, waits) -> Zenodo:
    return Zenodo(server.base, waits.append)


def one_file(client: Zenodo) -> RecordFile:
    (file,) = client.record(1).files
    return file


def one_line(error: pytest.ExceptionInfo) -> str:
    assert str(error.value).count("\n") == 0
    return str(error.value)


# --- one file


def test_a_file_arrives_and_is_not_downloaded_again(client, server, tmp_path):
    file = one_file(client)
    for _ in range(2):
        assert client.fetch(file, tmp_path) == tmp_path / "scans.zip"
        assert [path.read_bytes() for path in tmp_path.iterdir()] == [BYTES]
    assert server.asked_files == [("scans.zip", "")]


def test_an_empty_file_arrives(client, server, tmp_path):
    server.publish(1, {"empty.csv": b""})
    assert client.fetch(one_file(client), tmp_path).read_bytes() == b""


def test_a_damaged_file_is_downloaded_again(client, tmp_path, capsys):
    (tmp_path / "scans.zip").write_bytes(BYTES[::-1])
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES
    assert "differs from the record" in capsys.readouterr().err


def test_cut_connections_are_resumed(client, server, tmp_path, waits):
    server.cuts = [1000, 3000, 0, 1]
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES
    ranges = [part for _, part in server.asked_files]
    assert ranges == ["", "bytes=1000-", "bytes=4000-", "bytes=4000-", "bytes=4001-"]
    assert waits == [1, 1, 2, 1]  # seconds; only a failure that gains nothing doubles them
    assert [path.name for path in tmp_path.iterdir()] == ["scans.zip"]


def test_a_server_that_does_not_tell_sizes(client, server, tmp_path):
    server.chunked, server.cuts = True, [3000, 4000]
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES
    assert [part for _, part in server.asked_files] == ["", "bytes=3000-", "bytes=7000-"]


def test_any_number_of_cuts_is_borne_if_each_try_gains_something(client, server, tmp_path):
    server.cuts = [100] * (3 * TRIES)
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES


def test_tries_that_gain_nothing_end_in_one_line_and_the_next_call_resumes(
    client, server, tmp_path, waits
):
    server.cuts = [100] + [0] * TRIES
    with pytest.raises(UserError, match=r"scans\.zip: the connection was cut") as error:
        client.fetch(one_file(client), tmp_path)
    assert "it resumes" in one_line(error)
    assert waits == [1, 2, 4, 8]
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    server.cuts, server.asked = [], []
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES
    assert server.asked_files == [("scans.zip", "bytes=100-")]


def test_an_interrupted_download_resumes(server, tmp_path):
    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    server.cuts = [5000]
    client = Zenodo(server.base, interrupt)
    file = one_file(client)
    with pytest.raises(KeyboardInterrupt):
        client.fetch(file, tmp_path)
    assert part_path(file, tmp_path).read_bytes() == BYTES[:5000]
    assert client.fetch(file, tmp_path).read_bytes() == BYTES


def test_a_finished_part_is_not_asked_for(client, server, tmp_path):
    file = one_file(client)
    part_path(file, tmp_path).write_bytes(BYTES)
    assert client.fetch(file, tmp_path).read_bytes() == BYTES
    assert server.asked_files == []


def test_a_part_of_another_version_is_not_used(client, server, tmp_path):
    part_path(one_file(client), tmp_path).write_bytes(BYTES[:100])
    server.publish(1, {"scans.zip": BYTES[::-1]})
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES[::-1]
    assert server.asked_files == [("scans.zip", "")]


def test_the_address_of_the_page_is_asked_if_the_one_of_the_api_serves_no_parts(
    client, server, tmp_path
):
    server.ranges, server.cuts = {"/records/"}, [6000]
    assert client.fetch(one_file(client), tmp_path).read_bytes() == BYTES
    assert [(path[:5], part) for path, part in server.asked[1:]] == [
        ("/api/", ""),
        ("/api/", "bytes=6000-"),
        ("/reco", "bytes=6000-"),
    ]


@pytest.mark.parametrize("fault", ["no ranges", "another range"])
def test_without_the_right_range_the_file_is_downloaded_from_its_start(
    client, server, tmp_path, fault
):
    server.ranges = set() if fault == "no ranges" else server.ranges
    server.shift = 1 if fault == "another range" else 0
    file = one_file(client)
    part_path(file, tmp_path).write_bytes(BYTES[:6000])
    assert client.fetch(file, tmp_path).read_bytes() == BYTES
    assert server.asked_files[-1] == ("scans.zip", "")


def test_a_server_without_ranges_that_always_cuts_ends_in_one_line(client, server, tmp_path):
    server.ranges, server.cuts = set(), [5000] * 100
    with pytest.raises(UserError, match="cut") as error:
        client.fetch(one_file(client), tmp_path)
    assert one_line(error)


def test_a_wrong_checksum_is_tried_once_more(client, server, tmp_path, capsys):
    file = one_file(client)
    part_path(file, tmp_path).write_bytes(b"x" + BYTES[1:6000])
    assert client.fetch(file, tmp_path).read_bytes() == BYTES
    assert "wrong checksum" in capsys.readouterr().err


def test_a_wrong_checksum_twice_is_one_line_and_leaves_nothing(client, server, tmp_path):
    file = one_file(client)
    server.files["scans.zip"] = BYTES[::-1]
    with pytest.raises(UserError, match="arrived twice with another checksum") as error:
        client.fetch(file, tmp_path)
    assert "try another network" in one_line(error)
    assert list(tmp_path.iterdir()) == []


def test_a_part_that_is_too_long_is_downloaded_again(client, tmp_path):
    file = one_file(client)
    part_path(file, tmp_path).write_bytes(BYTES + b"more")
    assert client.fetch(file, tmp_path).read_bytes() == BYTES


def test_a_login_page_does_not_replace_what_was_downloaded(client, server, tmp_path):
    file = one_file(client)
    part_path(file, tmp_path).write_bytes(BYTES[:6000])
    server.answers = [(200, {}, b"<html>Log in</html>")] * 100
    with pytest.raises(UserError, match="another size"):
        client.fetch(file, tmp_path)
    assert part_path(file, tmp_path).read_bytes() == BYTES[:6000]


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_busy_server_is_asked_again(client, server, tmp_path, waits, code):
    file = one_file(client)
    server.answers = [(code, {"Retry-After": "7"}, b"")] * (TRIES - 1)
    assert client.fetch(file, tmp_path).read_bytes() == BYTES
    assert waits == [7] * (TRIES - 1)


def test_retry_after_may_be_a_date_or_nonsense(client, server, tmp_path, waits):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True)
    past = format_datetime(datetime.now(UTC) - timedelta(seconds=100), usegmt=True)
    server.answers = [(429, {"Retry-After": text}, b"") for text in (date, past, "soon", "-1")]
    assert client.record(1).files
    assert waits == [pytest.approx(100, abs=5), 2, 4, 8]


def test_a_long_wait_is_left_to_the_user(client, server, waits):
    server.answers = [(429, {"Retry-After": "3600"}, b"")]
    with pytest.raises(UserError, match="in 60 minutes") as error:
        client.record(1)
    assert one_line(error)
    assert waits == []


@pytest.mark.parametrize(("code", "what"), [(403, "refused"), (404, "not found"), (410, "moved")])
def test_a_refusal_is_one_line_at_once(client, server, waits, code, what):
    server.answers = [(code, {}, b"")]
    with pytest.raises(UserError, match=what) as error:
        client.record(1)
    assert str(code) in one_line(error)
    assert waits == []


def test_an_unreachable_server_is_one_line(waits, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Server() as server:
        base = server.base
    with pytest.raises(UserError, match="no connection") as error:
        Zenodo(base, waits.append).record(1)
    assert "HTTPS_PROXY" in one_line(error)
    assert waits == [1, 2, 4, 8]


def test_an_untrusted_certificate_is_one_line_at_once(client, waits, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        error = zenodo.ssl.SSLCertVerificationError()
        error.verify_message = "self-signed certificate"
        raise URLError(error)

    monkeypatch.setattr(client._opener, "open", fail)
    with pytest.raises(UserError, match="self-signed certificate") as error:
        client.record(1)
    assert "SSL_CERT_FILE" in one_line(error)
    assert waits == []


def test_redirects_are_followed_to_a_part_too(client, server, tmp_path):
    file = one_file(client)
    elsewhere = f"{server.base}/records/1/files/scans.zip"
    part_path(file, tmp_path).write_bytes(BYTES[:6000])
    server.answers = [(302, {"Location": elsewhere}, b"")]
    assert client.fetch(file, tmp_path).read_bytes() == BYTES
    assert server.asked_files[-1] == ("scans.zip", "bytes=6000-")


@pytest.mark.parametrize("address", ["https://127.0.0.1/x", "file:///etc/passwd", "ftp://a/b"])
def test_nothing_leads_to_another_scheme(client, server, tmp_path, address):
    server.answers = [(302, {"Location": address}, b"")]
    with pytest.raises(UserError):
        client.record(1)
    file = RecordFile("a.zip", 3, "0" * 32, (address,))
    with pytest.raises(UserError, match="not a safe address"):
        client.fetch(file, tmp_path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line(client, tmp_path):
    file = one_file(client)
    part_path(file, tmp_path).symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left on device") as error:
        client.fetch(file, tmp_path)
    assert "make room" in one_line(error)


# --- the record


def test_a_record_names_its_files_its_licence_and_its_authors(client, server):
    record = client.record(1)
    assert record.licence == "cc-by-4.0"
    assert record.citation == (
        "Author, A.; Author, B.; Author, C.; et al. (2023): Lumbar spines. "
        "Zenodo, doi:10.5281/zenodo.1"
    )
    (file,) = record.files
    assert (file.name, file.size) == ("scans.zip", len(BYTES))
    assert file.addresses == (
        f"{server.base}/api/records/1/files/scans.zip/content",
        f"{server.base}/records/1/files/scans.zip",
    )


@pytest.mark.parametrize(("licence", "read"), [(None, ""), ({"id": "cc-zero"}, "cc-zero")])
def test_a_record_may_name_no_licence(client, server, licence, read):
    server.publish(1, {}, licence)
    assert client.record(1).licence == read


def cut(text: str) -> str:
    return text[: len(text) // 2]


@pytest.mark.parametrize(
    "damage",
    [
        cut,
        lambda text: "",
        lambda text: "[]",
        lambda text: "<html>Log in</html>",
        lambda text: "[" * 100_000,
        lambda text: text.replace('"size": 10240', '"size": "many"'),
        lambda text: text.replace('"size": 10240', '"size": -1'),
        lambda text: text.replace("md5:", "sha1:"),
        lambda text: text.replace('"links"', '"other"'),
        lambda text: text.replace('"title"', '"other"'),
    ],
)
def test_an_answer_that_is_no_record_is_one_line(client, server, damage, waits):
    text = json.dumps(server.records[1])
    assert damage(text) != text
    server.answers = [(200, {}, damage(text).encode())] * TRIES
    with pytest.raises(UserError, match="did not answer with a record") as error:
        client.record(1)
    assert one_line(error)
    server.answers = [(200, {}, damage(text).encode())]
    assert client.record(1).files  # it may pass


# --- archives


SCANS = r"[0-9]+_t2\.mha"


def zip_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def tar_of(path: Path, *members: tuple[str | tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (zip_of, "a.zip"),
        (zip_of, "A.ZIP"),
        (tar_of, "a.tar"),
        (tar_of, "a.tar.gz"),
        (tar_of, "a.tgz"),
    ],
)
def test_scans_are_unpacked_into_one_folder(tmp_path, capsys, make, name):
    names = ("images/1_t2.mha", "2_t2.mha", "__MACOSX/images/._1_t2.mha", "images/notes.txt")
    archive = make(tmp_path / name, *((name, name.encode()) for name in names))
    assert contents(archive, SCANS) == {"1_t2.mha": 15, "2_t2.mha": 8}
    assert "holds 2 files that are not named like a scan" in capsys.readouterr().err
    unpack(archive, SCANS, tmp_path / "out")
    found = {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}
    assert found == {"1_t2.mha": "images/1_t2.mha", "2_t2.mha": "2_t2.mha"}


def test_unpacking_resumes(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("1_t2.mha", b"one"), ("2_t2.mha", b"two"))
    out = tmp_path / "out"
    unpack(archive, SCANS, out)
    (out / "1_t2.mha").write_bytes(b"on")
    kept = (out / "2_t2.mha").stat()
    unpack(archive, SCANS, out)
    assert (out / "1_t2.mha").read_bytes() == b"one"
    assert (out / "2_t2.mha").stat().st_mtime_ns == kept.st_mtime_ns


def linked(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def special(name: str, kind: bytes) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    return info


OUTSIDE = ("../1_t2.mha", "/1_t2.mha", "a/../../1_t2.mha", "C:/1_t2.mha", "C:1_t2.mha")
OUTSIDE += ("..\\1_t2.mha", "\\\\host\\share\\1_t2.mha", "../../notes.txt")


@pytest.mark.parametrize("make", [zip_of, tar_of])
@pytest.mark.parametrize("name", OUTSIDE)
def test_an_archive_that_points_outside_is_refused(tmp_path, make, name):
    archive = make(tmp_path / ("a.zip" if make is zip_of else "a.tar"), (name, b"evil"))
    for use in (lambda: contents(archive, SCANS), lambda: unpack(archive, SCANS, tmp_path / "out")):
        with pytest.raises(UserError, match="points out of the archive's folder") as error:
            use()
        assert one_line(error)
    assert [path.name for path in tmp_path.rglob("*")] == [archive.name]


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    archives = [
        tar_of(tmp_path / "a.tar", (special("1_t2.mha", kind), b"")),
        zip_of(tmp_path / "a.zip", (linked("1_t2.mha"), b"/etc/passwd")),
    ]
    for archive in archives:
        with pytest.raises(UserError, match="is a link or a device") as error:
            contents(archive, SCANS)
        assert one_line(error)


@pytest.mark.parametrize("second", ["other/1_t2.mha", "1_T2.MHA"])
def test_two_files_of_one_name_are_refused(tmp_path, second):
    archive = zip_of(tmp_path / "a.zip", ("1_t2.mha", b"a"), (second, b"b"))
    with pytest.raises(UserError, match="holds two files called"):
        contents(archive, SCANS)


def test_an_archive_out_of_proportion_is_refused(tmp_path, monkeypatch):
    archive = zip_of(tmp_path / "a.zip", ("1_t2.mha", bytes(10**6)))
    assert contents(archive, SCANS) == {"1_t2.mha": 10**6}  # honest, if well packed
    monkeypatch.setattr(unpacking, "MOST_BYTES", 10**6 - 1)
    with pytest.raises(UserError, match="out of proportion"):
        contents(archive, SCANS)
    monkeypatch.undo()
    raw = archive.read_bytes()  # the directory claims more than deflate can give
    claim = (10**9).to_bytes(4, "little")
    archive.write_bytes(raw.replace((10**6).to_bytes(4, "little"), claim))
    with pytest.raises(UserError, match="out of proportion"):
        contents(archive, SCANS)
    monkeypatch.setattr(unpacking, "MOST_FILES", 1)
    many = zip_of(tmp_path / "many.zip", ("1_t2.mha", b"a"), ("2_t2.mha", b"b"))
    with pytest.raises(UserError, match="out of proportion"):
        contents(many, SCANS)


def test_a_member_that_is_longer_or_shorter_than_it_says_is_damaged(tmp_path):
    for claim in (5, 2000):
        archive = zip_of(tmp_path / "a.zip", ("1_t2.mha", bytes(range(250)) * 4))
        size = (1000).to_bytes(4, "little")
        archive.write_bytes(archive.read_bytes().replace(size, claim.to_bytes(4, "little")))
        with pytest.raises(UserError, match="damaged"):
            unpack(archive, SCANS, tmp_path / "out")
        assert not (tmp_path / "out" / "1_t2.mha").exists()


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tgz"])
@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_damaged_archive_is_one_line(tmp_path, name, keep):
    make = zip_of if name == "a.zip" else tar_of
    noise = hashlib.shake_256(b"").digest(3000)
    archive = make(tmp_path / name, ("1_t2.mha", noise), ("2_t2.mha", noise))
    archive.write_bytes(archive.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"damaged") as error:
        unpack(archive, SCANS, tmp_path / "out")
    assert one_line(error)
    assert not list(tmp_path.glob("out/*_t2.mha"))


def test_an_encrypted_archive_is_refused(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("1_t2.mha", b"abc"))
    raw = bytearray(archive.read_bytes())
    directory = raw.index(b"PK\x01\x02")
    raw[directory + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(UserError, match="is encrypted"):
        contents(archive, SCANS)


# --- a data set


def packed(folder: Path) -> bytes:
    """A zip of a folder, with the folder's name in it, as SPIDER's are."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.mkdir(folder.name)
        for path in sorted(folder.iterdir()):
            file.write(path, f"{folder.name}/{path.name}")
    return buffer.getvalue()


@pytest.fixture
def spider(server, client, tmp_path) -> Zenodo:
    """A server that has a small SPIDER."""
    for seed, name in enumerate(("1_t1", "1_t2", "2_t2_SPACE")):
        write_spider(tmp_path / "made", name, make_scan(seed=seed), make_mask(labels=(0, 1, 2)))
    files = {f"{part}.zip": packed(tmp_path / "made" / part) for part in ("images", "masks")}
    others = {"overview.csv": b"id\n1\n", "radiological_gradings.csv": b"id\n1\n", "a.pdf": b"%PDF"}
    server.publish(SPIDER, files | others)
    shutil.rmtree(tmp_path / "made")
    return client


def test_spider_can_be_used_at_once(spider, server, tmp_path, capsys):
    out = download("spider", tmp_path / "spider", spider)
    assert [case.id for case in ChallengeFolder(out).cases()] == ["Case1", "Case2"]
    assert check_folder(out).problems == []
    assert [name for name, _ in server.asked_files] == [
        *("images.zip", "masks.zip", "overview.csv", "radiological_gradings.csv")
    ]
    kept = sorted(path.name for path in (out / ".download").rglob("*.*"))
    assert kept == ["images.zip", "masks.zip", "overview.csv", "radiological_gradings.csv"]
    said = capsys.readouterr().err
    for words in ("licence: cc-by-4.0", "Author, A.", "zenodo.10159290", "10.1038/s41597"):
        assert words in said
    assert f"next: make reproduce DATA={out}" in said


def test_names_of_archives_can_have_capitals(spider, server, tmp_path):
    server.publish(SPIDER, {name.capitalize(): each for name, each in server.files.items()})
    out = download("spider", tmp_path / "spider", spider)
    assert [case.id for case in ChallengeFolder(out).cases()] == ["Case1", "Case2"]


@pytest.mark.parametrize("archive", ["", "Scans of 2015.zip"])
def test_chu_comes_as_single_files_or_in_an_archive(client, server, tmp_path, archive):
    names = [f"Img_{number:02d}{part}.nii" for number in (1, 2) for part in ("", "_Labels")]
    for name in names:
        levels = [0] * 3 + [1, 0] * 7 + [0] * 3  # seven bodies, from below upwards
        mask = np.repeat(np.array(levels, np.uint8), 8 * 6).reshape(-1, 8, 6)
        scan = 100 * mask.astype(np.int16) + np.arange(6, dtype=np.int16)
        scan += 10 * np.arange(8, dtype=np.int16)[:, None]
        voxels = mask if "Labels" in name else scan
        image = sitk.GetImageFromArray(voxels)
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # NIfTI's identity
        write(image, tmp_path / "made" / "a" / name)
    files = {name: (tmp_path / "made" / "a" / name).read_bytes() for name in names}
    server.publish(CHU, {archive: packed(tmp_path / "made" / "a")} if archive else files, None)
    out = download("chu", tmp_path / "chu", client)
    assert [case.id for case in ChallengeFolder(out).cases()] == ["Case1", "Case2"]
    assert check_folder(out).problems == []
    kept = {path.name for path in (out / ".download").rglob("*.*")}
    assert kept == ({archive} if archive else set(names))


def test_a_finished_download_asks_for_nothing(spider, server, tmp_path):
    download("spider", tmp_path / "spider", spider)
    server.asked.clear()
    assert download("spider", tmp_path / "spider", spider) == tmp_path / "spider"
    assert server.asked == []


def test_an_interrupted_conversion_downloads_nothing_again(spider, server, tmp_path, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(downloading, "convert", interrupt)
        with pytest.raises(KeyboardInterrupt):
            download("spider", tmp_path / "spider", spider)
    server.asked.clear()
    download("spider", tmp_path / "spider", spider)
    assert server.asked_files == []


@pytest.mark.parametrize("name", ["images.zip", "masks.zip"])
def test_a_record_without_the_scans_is_one_line(spider, server, tmp_path, name):
    entries = server.records[SPIDER]["files"]
    server.records[SPIDER]["files"] = [each for each in entries if each["key"] != name]
    with pytest.raises(UserError, match=f"lacks {name}") as error:
        download("spider", tmp_path / "spider", spider)
    assert f"/records/{SPIDER}" in one_line(error)


def test_a_restricted_record_is_one_line(client, server, tmp_path):
    server.publish(CHU, {})
    del server.records[CHU]["files"]
    with pytest.raises(UserError, match="does not list the files of scans"):
        download("chu", tmp_path / "chu", client)


def with_free(monkeypatch, free: int) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def test_room_is_checked_before_anything_is_downloaded(spider, server, tmp_path, monkeypatch):
    with_free(monkeypatch, 1000)
    with pytest.raises(UserError, match="to download, unpack and convert it") as error:
        download("spider", tmp_path / "spider", spider)
    assert "make room" in one_line(error)
    assert server.asked_files == []


def test_room_is_checked_before_anything_is_unpacked(spider, server, tmp_path, monkeypatch):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("1_t2.mha", bytes(10**7))
    server.publish(SPIDER, {"images.zip": content.getvalue(), "masks.zip": content.getvalue()})
    with_free(monkeypatch, 10**7)
    with pytest.raises(UserError, match="to unpack and convert it"):
        download("spider", tmp_path / "spider", spider)
    assert not list(tmp_path.rglob("*.mha"))


def test_another_folder_is_refused_before_anything_is_downloaded(spider, server, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "scan.nii").write_bytes(b"")
    with pytest.raises(UserError, match="holds other files"):
        download("spider", folder, spider)
    (folder / "source.json").write_text(json.dumps({"set": "Chu et al. 2015"}))
    with pytest.raises(UserError, match="describes another data set"):
        download("spider", folder, spider)
    with pytest.raises(UserError, match="a file, not a folder"):
        download("spider", folder / "scan.nii", spider)
    assert server.asked == []


def test_two_at_once_are_refused(spider, server, tmp_path):
    store = tmp_path / "spider" / ".download"
    with downloading.folder_lock(store), pytest.raises(UserError, match="at work here"):
        download("spider", tmp_path / "spider", spider)


def test_names_of_the_command():
    options = cli._parser().parse_args(["data", "download", "spider", "folder"])
    assert options.name == "spider"
    for name in DATA_SETS:
        cli._parser().parse_args(["data", "download", name, "folder"])
