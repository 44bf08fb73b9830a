"""Downloads from a server on this machine that fails in every way a server can."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from fastbp import files
from fastbp.data import download
from fastbp.data.sources import PUBLISHED, PinnedFile, Published
from fastbp.errors import DataError, DownloadError, FastbpError

pytestmark = pytest.mark.usefixtures("cache_folder")

CONTENTS = {pin.name: f"contents of {pin.name} ".encode() * 2000 for pin in PUBLISHED["mnist"].files}
FIRST = next(iter(CONTENTS))


class Server(ThreadingHTTPServer):
    """Serves CONTENTS under /<behaviour>/; records what was asked."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str] = []
        self.closing = threading.Event()

    def mirror(self, behaviour: str) -> str:
        return f"http://127.0.0.1:{self.server_port}/{behaviour}/"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        behaviour, name = self.path.strip("/").split("/")
        content = CONTENTS[name]
        if behaviour.isdigit():
            self.send_error(int(behaviour))
            return
        if behaviour in ("to-http", "to-good"):
            self.send_response(302)
            host = "example.invalid" if behaviour == "to-http" else f"127.0.0.1:{self.server.server_port}"
            self.send_header("Location", f"http://{host}/good/{name}")
            self.end_headers()
            return
        if behaviour == "loop":
            self.send_response(302)
            self.send_header("Location", self.path)
            self.end_headers()
            return
        if behaviour == "closed":
            return
        self.send_response(200)
        body = {"wrong": content[::-1], "html": b"<html>log in</html>", "longer": content + b"x"}.get(
            behaviour, content
        )
        if behaviour not in ("endless", "short-unannounced"):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour in ("truncated", "short-unannounced"):
            self.wfile.write(body[: len(body) // 2])
        elif behaviour == "silent":
            self.server.closing.wait(20)
        elif behaviour == "drip":
            while not self.server.closing.wait(0.05):
                self.wfile.write(b"c")
        elif behaviour == "endless":
            while not self.server.closing.is_set():
                self.wfile.write(bytes(65536))
        else:
            self.wfile.write(body)

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            return  # the client has hung up, as it should


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch, server: Server) -> Callable[..., None]:
    """use("404", "good"): mnist's mirrors are these behaviours, and its files are CONTENTS."""
    for variable in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    monkeypatch.setattr(download, "STALL_SECONDS", 0.3)
    pins = tuple(PinnedFile(name, len(data), hashlib.sha256(data).hexdigest()) for name, data in CONTENTS.items())
    changed = Published(**{**vars(PUBLISHED["mnist"]), "files": pins})
    monkeypatch.setattr(download, "PUBLISHED", {**PUBLISHED, "mnist": changed})

    def choose(*behaviours: str) -> None:
        mirrors = tuple(text if "://" in text else server.mirror(text) for text in behaviours)
        monkeypatch.setitem(download.MIRRORS, "mnist", mirrors)

    return choose


def everything(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


FAILURES = {
    "404": "404",
    "403": "403",
    "500": "500",
    "503": "503",
    "wrong": "sha256",
    "html": "offers 19 bytes",
    "longer": "offers",
    "truncated": "sent",
    "short-unannounced": "sent",
    "silent": "timed out",
    "drip": "stalled",
    "endless": "more than the expected",
    "closed": "",
    "to-http": "not https",
    "loop": "",
    "http://example.invalid/": "not an https address",
    "ftp://127.0.0.1/": "not an https address",
    "file:///etc/": "not an https address",
    "http://127.0.0.1:9/": "refused",
}


def test_good_server(use: Callable[..., None], server: Server, cache_folder: Path) -> None:
    use("good")
    calls: list[tuple[str, int, int | None]] = []
    folder = download.fetch("mnist", progress=lambda *call: calls.append(call))
    assert folder == cache_folder / "data" / "mnist"
    assert everything(cache_folder) == CONTENTS
    assert calls[0][0] == f"downloading {FIRST} from 127.0.0.1"
    assert all(total == len(CONTENTS[text.split()[1]]) for text, _, total in calls)
    assert sum(done == total for _, done, total in calls) == 4
    asked = len(server.asked)
    download.fetch("mnist", offline=True)
    assert len(server.asked) == asked == 4


@pytest.mark.parametrize("behaviour", FAILURES)
def test_next_mirror_on_any_failure(use: Callable[..., None], cache_folder: Path, behaviour: str) -> None:
    use(behaviour, "good")
    begin = time.monotonic()
    download.fetch("mnist")
    assert everything(cache_folder) == CONTENTS
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize("behaviour", FAILURES)
def test_every_mirror_fails(use: Callable[..., None], server: Server, cache_folder: Path, behaviour: str) -> None:
    use("404", behaviour)
    with pytest.raises(DownloadError) as caught:
        download.fetch("mnist")
    message = str(caught.value)
    assert caught.value.exit_code == 6
    mirror = behaviour if "://" in behaviour else server.mirror(behaviour)
    for word in (
        *CONTENTS,
        str(cache_folder / "data" / "mnist"),
        "--data-dir",
        mirror + FIRST,
        "404",
        FAILURES[behaviour],
    ):
        assert word in message, message
    assert "\n" not in message
    assert everything(cache_folder) == {}


def test_redirects_to_allowed_places_are_followed(use: Callable[..., None], cache_folder: Path) -> None:
    use("to-good")
    download.fetch("mnist")
    assert everything(cache_folder) == CONTENTS


def test_only_what_is_missing_or_damaged_is_downloaded(
    use: Callable[..., None], server: Server, cache_folder: Path
) -> None:
    use("good")
    folder = cache_folder / "data" / "mnist"
    folder.mkdir(parents=True)
    names = list(CONTENTS)
    (folder / names[0]).write_bytes(CONTENTS[names[0]])
    (folder / names[1]).write_bytes(CONTENTS[names[1]][::-1])
    download.fetch("mnist")
    assert [path.rsplit("/", 1)[1] for path in server.asked] == names[1:]
    assert everything(cache_folder) == CONTENTS


def test_offline_says_which_files_to_put_where(cache_folder: Path) -> None:
    with pytest.raises(DownloadError) as caught:
        download.fetch("kmnist", offline=True)
    for word in (
        *CONTENTS,
        str(cache_folder / "data" / "kmnist"),
        "https://codh.rois.ac.jp",
        "FASTBP_DATA",
        "KMNIST/raw",
    ):
        assert word in str(caught.value)


def test_what_a_killed_download_left_is_removed_in_time(use: Callable[..., None], cache_folder: Path) -> None:
    use("good")
    folder = cache_folder / "data" / "mnist"
    folder.mkdir(parents=True)
    old, new = folder / ".a.gz.1.00.tmp", folder / ".a.gz.2.00.tmp"
    old.write_bytes(b"")
    new.write_bytes(b"")
    two_days_ago = time.time() - 2 * 86_400
    os.utime(old, (two_days_ago, two_days_ago))
    download.fetch("mnist")
    assert not old.exists()
    assert new.exists()


def test_interrupt_leaves_nothing_behind(use: Callable[..., None], cache_folder: Path) -> None:
    use("good")

    def interrupt(text: str, done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download.fetch("mnist", progress=interrupt)
    assert everything(cache_folder) == {}


@pytest.mark.parametrize("call", ["replace", "fsync"])
def test_full_disk_is_no_mirrors_fault(
    use: Callable[..., None], server: Server, cache_folder: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    use("good", "good")

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, call, fail)
    with pytest.raises(FastbpError, match="No space left") as caught:
        download.fetch("mnist")
    assert not isinstance(caught.value, DownloadError)
    assert caught.value.exit_code == 1
    assert len(server.asked) == 1
    assert everything(cache_folder) == {}


def test_cache_that_cannot_be_written(use: Callable[..., None], cache_folder: Path) -> None:
    use("good")
    (cache_folder / "data").write_bytes(b"in the way")
    with pytest.raises(FastbpError, match=r"cannot create .*mnist.*FASTBP_CACHE_DIR"):
        download.fetch("mnist")


def test_several_at_once(use: Callable[..., None], cache_folder: Path) -> None:
    use("good")
    errors: list[Exception] = []

    def one() -> None:
        try:
            download.fetch("mnist")
        except FastbpError as error:
            errors.append(error)

    threads = [threading.Thread(target=one) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert everything(cache_folder) == CONTENTS


def test_published_table_is_pinned_and_https() -> None:
    for name, item in PUBLISHED.items():
        assert item.name == name
        assert len(item.class_names) == 10
        assert all(mirror.startswith("https://") and mirror.endswith("/") for mirror in item.mirrors)
        assert [pin.name for pin in item.files] == list(CONTENTS)
        assert all(len(bytes.fromhex(pin.sha256)) == 32 and pin.size > 4000 for pin in item.files)
    assert len({pin.sha256 for item in PUBLISHED.values() for pin in item.files}) == 12


def test_verify(use: Callable[..., None], tmp_path: Path) -> None:
    names = list(CONTENTS)
    (tmp_path / names[0]).write_bytes(CONTENTS[names[0]])
    (tmp_path / names[1]).write_bytes(CONTENTS[names[1]][::-1])
    (tmp_path / names[2].removesuffix(".gz")).write_bytes(b"unpacked")
    records = download.verify("mnist", tmp_path)
    assert [record.name for record in records] == names
    assert [record.status for record in records] == ["ok", "damaged", "unknown", "missing"]
    assert records[0].path == str(tmp_path / names[0])
    (tmp_path / names[0]).write_bytes(CONTENTS[names[0]] + b"x")
    record = download.verify("mnist", tmp_path)[0]
    assert (record.status, str(len(CONTENTS[names[0]])) in record.detail) == ("damaged", True)


def test_verify_the_download_folder(use: Callable[..., None], cache_folder: Path) -> None:
    assert {record.status for record in download.verify("mnist")} == {"missing"}
    use("good")
    download.fetch("mnist")
    records = download.verify("mnist")
    assert {record.status for record in records} == {"ok"}
    assert records[0].path == str(cache_folder / "data" / "mnist" / FIRST)


def test_verify_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        download.verify("mnist", tmp_path / "absent")
