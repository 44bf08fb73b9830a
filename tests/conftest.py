"""For all tests: one thread, no network, one compile cache for the whole session, nothing random.

FASTBP_DATA may name a folder with the real datasets; tests that need them are skipped without it.
"""

from __future__ import annotations

import ctypes
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Before NumPy is imported: libraries read these once.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import hypothesis
import hypothesis.configuration
import numpy as np
import pytest

hypothesis.settings.register_profile("fastbp", derandomize=True, deadline=None, database=None)

BROWSER_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1240,1000"
)


def pytest_configure(config: pytest.Config) -> None:
    """Keep what tests may share (machine code, drawn digits) in one place, out of the user's home.

    It is the folder that FASTBP_CACHE_DIR names, or one that pytest keeps from run to run: kernels compile once.
    Processes that tests start find it in the environment.
    """
    hypothesis.settings.load_profile("fastbp")
    cache = getattr(config, "cache", None)
    if cache is not None:
        keep = Path(cache.mkdir("fastbp"))
    else:  # -p no:cacheprovider
        folder = tempfile.TemporaryDirectory(prefix="fastbp-tests-")
        config.add_cleanup(folder.cleanup)
        keep = Path(folder.name)
    hypothesis.configuration.set_hypothesis_home_dir(keep / "hypothesis")
    os.environ.setdefault("FASTBP_CACHE_DIR", str(keep))
    os.environ.setdefault("MPLCONFIGDIR", str(keep / "matplotlib"))  # where Matplotlib keeps what it knows of fonts


@pytest.fixture(scope="session", autouse=True)
def shared_cache() -> Path:
    """The session's cache directory. The first kernel that runs settles where this process keeps machine code."""
    from fastbp.kernels.order import shuffle

    shuffle(np.empty(1, np.uint32), np.uint64(0))
    return Path(os.environ["FASTBP_CACHE_DIR"])


@pytest.fixture
def own_cache(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache directory for datasets, for this test and its processes; compiled kernels stay shared."""
    folder = tmp_path_factory.mktemp("cache")
    (folder / "kernels").symlink_to(shared_cache / "kernels", target_is_directory=True)
    monkeypatch.setenv("FASTBP_CACHE_DIR", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking up or calling another machine is an error."""
    lookup = socket.getaddrinfo

    def guarded_lookup(host: Any, *args: Any, **kwargs: Any) -> Any:
        _require_local((host,))
        return lookup(host, *args, **kwargs)

    def guarded(method: Any) -> Any:
        def call(self: socket.socket, address: Any) -> Any:
            _require_local(address)
            return method(self, address)

        return call

    monkeypatch.setattr(socket, "getaddrinfo", guarded_lookup)
    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


def _require_local(address: Any) -> None:
    """RuntimeError unless an address is on this machine: a loopback address, or the path of a local socket."""
    host = address[0] if isinstance(address, tuple) else None
    host = host.decode() if isinstance(host, bytes) else host
    if host in (None, "", "localhost"):
        return
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name
        local = False
    if not local:
        raise RuntimeError(f"tests must not touch the network, but this one asked for {host!r}")


@pytest.fixture
def bound() -> Callable[[], None]:
    """For `preexec_fn` of processes: permissions count for them, also where they are root's."""
    if not sys.platform.startswith("linux"):
        pytest.skip("capabilities are Linux's")
    drop_bounding, dac_override = 24, 1  # of sys/prctl.h and linux/capability.h
    library = ctypes.CDLL(None)

    def bind() -> None:
        if os.geteuid() == 0 and library.prctl(drop_bounding, dac_override, 0, 0, 0) != 0:
            raise OSError("a capability could not be dropped")

    try:
        subprocess.run([sys.executable, "-c", ""], preexec_fn=bind, check=True)
    except subprocess.SubprocessError:
        pytest.skip("root may not drop its capabilities here")
    return bind


@pytest.fixture
def rng() -> np.random.Generator:
    """Random numbers, the same ones for every test and every run."""
    return np.random.default_rng(20260607)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real datasets."""
    folder = os.environ.get("FASTBP_DATA")
    if not folder:
        pytest.skip("FASTBP_DATA is not set: it names the folder with mnist/ and fashion/")
    return Path(folder)


@pytest.fixture(scope="session")
def mnist_folder(real_data: Path) -> Path:
    if not (real_data / "mnist").is_dir():
        pytest.skip(f"there is no mnist/ in FASTBP_DATA ({real_data})")
    return real_data / "mnist"


@pytest.fixture(scope="session")
def fashion_folder(real_data: Path) -> Path:
    if not (real_data / "fashion").is_dir():
        pytest.skip(f"there is no fashion/ in FASTBP_DATA ({real_data})")
    return real_data / "fashion"


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A headless browser with a profile of its own."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="these tests need selenium")
    names = ("chromium", "chromium-browser", "google-chrome")
    binary = next(filter(None, map(shutil.which, names)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("these tests need Chromium or Chrome, and chromedriver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in [*BROWSER_FLAGS.split(), f"--user-data-dir={tmp_path_factory.mktemp('profile')}"]:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield opened
    opened.quit()
