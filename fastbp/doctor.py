"""What `fastbp doctor` finds: one line per thing that could be wrong, and what to do about it.

Nothing comes in, findings go out: as dictionaries for `--json`, and as lines on stdout. What cannot be looked at is a
finding too. Nothing is written but to the cache directory and to a temporary folder.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from . import gpu
from .console import echo, folded, printable, size, styled
from .cores import usable_cores
from .errors import FastbpError
from .files import cache_directory, is_private, reason
from .installation import EXTRAS, machine_facts, needed_packages, package, probed

__all__ = ["NOTE", "OK", "PROBLEM", "Finding", "doctor_facts", "examine", "show_findings"]

OK, NOTE, PROBLEM = "ok", "note", "problem"
COLOURS = {OK: "green", NOTE: "yellow", PROBLEM: "red"}
LITTLE_SPACE = 200_000_000  # bytes: mnist and fashion, downloaded and parsed
ELSEWHERE = "set FASTBP_CACHE_DIR to a folder of your own that can be written"

# variables that matter, and what they do; a switch counts where it is neither empty nor 0
SWITCHES = {
    "NUMBA_DISABLE_JIT": (PROBLEM, "kernels are not compiled, and much slower"),
    "NUMBA_ENABLE_CUDASIM": (NOTE, "device cuda is a simulator: for tests of kernels, and slow"),
    "NUMBA_BOUNDSCHECK": (NOTE, "kernels check indices, and are slower for it"),
}
HARMLESS = {
    "FASTBP_CACHE_DIR": "the cache directory",
    "FASTBP_DEBUG": "errors of the system come with a traceback",
    "NUMBA_NUM_THREADS": "fastbp does not use it",
    "NUMBA_CACHE_DIR": "fastbp does not use it; FASTBP_CACHE_DIR is what it reads",
    "OMP_NUM_THREADS": "threads of NumPy's products; the fused engine has --threads",
    "NO_COLOR": "no colours",
}
READ_ELSEWHERE = ("FASTBP_DATA", "FASTBP_BENCH_ALONE")


class Finding(NamedTuple):
    """One thing that was looked at."""

    subject: str
    state: str  # ok, note or problem
    detail: str
    advice: str | None = None  # what to do


def examine(tell: Callable[[str], None] | None = None) -> Iterator[Finding]:
    """Look at everything, one thing after the other.

    Parameters
    ----------
    tell : callable, optional
        called with a text before kernels are compiled

    Yields
    ------
    Finding
        what cannot be looked at is a problem, too, and never raises
    """
    parts: dict[str, Callable[[], Iterable[Finding]]] = {
        "packages": _packages,
        "processor": _processor,
        "cache": _cache,
        "kernels": _kernels,
        "datasets": _datasets,
        "gpu": _gpu,
        "environment": _environment,
        "self-test": lambda: _self_test(tell),
    }
    for name, look in parts.items():
        try:
            yield from look()
        except Exception as error:  # whatever is broken here is what somebody wants to know
            trouble = str(error) if isinstance(error, FastbpError) else f"{type(error).__name__}: {reason(error)}"
            yield Finding(name, PROBLEM, f"cannot be looked at: {trouble}", "repair what the message names")


def doctor_facts(findings: Iterable[Finding]) -> dict[str, Any]:
    """Whether nothing is a problem, every finding, and the facts of `fastbp info`."""
    rows = [finding._asdict() for finding in findings]
    try:
        machine: dict[str, Any] | None = machine_facts()
    except Exception:  # some finding says why
        machine = None
    return {"healthy": all(row["state"] != PROBLEM for row in rows), "findings": rows, "machine": machine}


def show_findings(findings: list[Finding]) -> None:
    """One line each, folded at 100 characters or where the terminal ends, and a sum."""

    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        state = styled(finding.state.ljust(7), sys.stdout, fg=COLOURS[finding.state], bold=finding.state == PROBLEM)
        lines = _folded(finding.detail, width)
        echo(f"{state}  {finding.subject.ljust(width)}  {lines[0]}")
        more = [f"-> {line}" if n == 0 else line for n, line in enumerate(_folded(finding.advice or "", width)) if line]
        for line in lines[1:] + more:
            echo(" " * (width + 11) + line)
    n_problems, n_notes = (sum(finding.state == state for finding in findings) for state in (PROBLEM, NOTE))
    echo()
    if n_problems:
        echo(f"{n_problems} {'problem' if n_problems == 1 else 'problems'}", bold=True)
    else:
        echo("healthy" + (f", with {n_notes} {'note' if n_notes == 1 else 'notes'}" if n_notes else ""), bold=True)


def _folded(text: str, width: int) -> list[str]:
    return folded(printable(text, 2000), sys.stdout, 100, width + 14)


def _packages() -> Iterator[Finding]:
    """fastbp, Python, what is needed, and what can be used."""
    facts, trouble = machine_facts(), probed()[1]
    installed = package("fastbp").version
    if installed in (None, facts["fastbp"]):
        yield Finding("fastbp", OK, facts["fastbp"] + ("" if installed else ", from its sources"))
    else:
        advice = "install it anew, or remove one of the two"
        yield Finding("fastbp", NOTE, f"{facts['fastbp']} runs, and {installed} is installed", advice)
    yield Finding("python", OK, f"{facts['python']}, {facts['system']}")
    for each in needed_packages():
        cure = f"run: pip install --upgrade '{each.name}{'>=' + each.at_least if each.at_least else ''}'"
        if each.version is None:
            yield Finding(each.name, PROBLEM, "not installed", cure)
        elif each.too_old:
            yield Finding(each.name, PROBLEM, f"{each.version} is older than {each.at_least}", cure)
        elif each.name == "numba" and trouble is not None:
            yield Finding(each.name, PROBLEM, f"{each.version} {trouble}", "run: pip install --upgrade fastbp")
        else:
            yield Finding(each.name, OK, each.version)
    for name, (extra, use) in EXTRAS.items():
        each = package(name)
        cure = f"run: pip install 'fastbp[{extra}]'" if extra else f"run: pip install {name}"
        if each.version is None:
            yield Finding(name, NOTE, f"not installed, needed only for {use}", cure)
        elif each.too_old:
            yield Finding(name, NOTE, f"{each.version} is older than {each.at_least}, for {use}", cure)
        else:
            yield Finding(name, OK, f"{each.version}, for {use}")


def _processor() -> Iterator[Finding]:
    facts = machine_facts()
    bits, usable, there = facts["vector_bits"], usable_cores(), os.cpu_count() or 1
    yield Finding("processor", OK, facts["cpu"])
    if bits is not None:
        slow = "128 bits, the narrowest there are: kernels are at their slowest"
        yield Finding("vectors", OK, slow if bits == 128 else f"{bits} bits")
    share, text = _share_of_cores(), f"{usable} usable of {there}"
    if share is not None and share < usable:
        advice = f"use no more than --threads {max(1, int(share))}"
        yield Finding("threads", NOTE, f"{text}, but this container may use {share:.3g} cores at a time", advice)
    else:
        yield Finding("threads", OK, text)


def _share_of_cores() -> float | None:
    """What a Linux container may use, in cores; None where nothing is limited."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return int(quota) / int(period)
    except (OSError, ValueError):  # another system, or "max"
        return None


def _cache() -> Iterator[Finding]:
    """The cache directory: where, whose, how large, can it be written."""
    try:
        folder = cache_directory()
    except FastbpError as error:
        what, _, cure = str(error).rpartition("; ")
        yield Finding("cache", PROBLEM, f"{what}; every run compiles its kernels anew", cure)
        return
    yield Finding("cache", OK, f"{folder}, {size(_weight(folder))}")
    mode = f"mode {folder.stat().st_mode & 0o7777:04o}"
    if is_private(folder):
        yield Finding("cache privacy", OK, f"only you can write there ({mode})")
    else:
        advice = f"run: chmod go-w {folder}; or {ELSEWHERE}"
        yield Finding("cache privacy", NOTE, f"others can write to {folder} ({mode}), or it is theirs", advice)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"fastbp")
            file.flush()
    except OSError as error:
        detail = f"nothing can be written there: {reason(error)}"
        if _whole_kernels():
            yield Finding("cache writing", NOTE, f"{detail}; its kernels are used", "to keep more, " + ELSEWHERE)
        else:
            again = "; every run compiles its kernels anew"
            yield Finding("cache writing", PROBLEM, detail + again, ELSEWHERE)
        return
    free = shutil.disk_usage(folder).free
    if free < LITTLE_SPACE:
        yield Finding("cache writing", NOTE, f"{size(free)} are free, which is little", "make room, or " + ELSEWHERE)
    else:
        yield Finding("cache writing", OK, f"works, {size(free)} are free")


def _kernels() -> Iterator[Finding]:
    """Machine code: of this version of everything, and of others."""
    from .kernels.jit import cache_folder, is_whole, stamp

    try:
        base = cache_directory() / "kernels"
    except FastbpError:
        return  # said already
    folder = base / stamp()
    if cache_folder() is None and folder.is_dir():
        advice = f"run: chmod go-w {folder}; or, where it belongs to somebody else, {ELSEWHERE}"
        yield Finding("kernels", PROBLEM, f"{folder} is not private, so nothing in it is used", advice)
    elif not base.is_dir():
        yield Finding("kernels", NOTE, "none are kept", ELSEWHERE)
    else:
        files = _files(folder)
        kept = [path for path in files if path.suffix == ".kernel"]
        damaged = [path for path in kept if not _holds(is_whole, path)]
        if damaged:
            advice = "nothing needs to be done: they are compiled again when they are needed"
            yield Finding("kernels", NOTE, f"{len(damaged)} of {len(kept)} are damaged", advice)
        elif not kept:
            yield Finding("kernels", NOTE, "none yet for this version", "run: fastbp warmup, or let the first run wait")
        else:
            yield Finding("kernels", OK, f"{len(kept)} for this version, {size(_weight(folder))}, in {folder}")
        left = [path for path in files if path.suffix != ".kernel"]
        if left:
            advice = f"remove what does not end in .kernel from {folder} while nothing runs"
            yield Finding("kernels, cut off", NOTE, f"{len(left)} files of runs that were killed", advice)
    stale = [each for each in _folders(base) if each != folder]
    if stale:
        weight = size(sum(map(_weight, stale)))
        advice = f"if no other fastbp uses them, remove the folders in {base} but {folder.name}"
        yield Finding("kernels, stale", NOTE, f"{len(stale)} other versions, {weight}", advice)
    else:
        yield Finding("kernels, stale", OK, "none of other versions")


def _datasets() -> Iterator[Finding]:
    """What is downloaded, and what is parsed."""
    from .data.download import verify
    from .data.sources import PUBLISHED

    try:
        folder = cache_directory()
    except FastbpError:
        return
    found = []
    for name in PUBLISHED:
        place = folder / "data" / name
        if not _files(place):
            continue
        records = verify(name, place)
        wrong = [record for record in records if record.status != "ok"]
        if wrong:
            what = f"{name}: {len(wrong)} of {len(records)} files are {wrong[0].status}"
            yield Finding("datasets", NOTE, what, f"run: fastbp data get {name}")
        else:
            found.append(f"{name} ({size(_weight(place))})")
    parsed = folder / "parsed"
    count = len(_files(parsed))
    detail = f"{', '.join(found) or 'none'} downloaded; {count} parsed ({size(_weight(parsed))})"
    yield Finding("datasets", OK, detail)


def _gpu() -> Iterator[Finding]:
    graphics = gpu.report()
    names = ", ".join(map(str, graphics.devices))
    if graphics.problem is None:
        yield Finding(
            "gpu", OK, f"{names or graphics.provider}, driver for CUDA {graphics.driver}, {graphics.provider}"
        )
    else:
        what, _, cure = graphics.problem.partition("; ")
        yield Finding("gpu", NOTE, f"{names}: {what}" if names else what, cure or None)


def _environment() -> Iterator[Finding]:
    """Variables that matter, where they are set."""
    for name, value in sorted(os.environ.items()):
        shown = f"{name}={printable(value)}"
        if name in SWITCHES:
            state, effect = SWITCHES[name] if value not in ("", "0") else (OK, "off")
            yield Finding("environment", state, f"{shown}: {effect}", None if state == OK else f"run: unset {name}")
        elif name == "FASTBP_DATA" and value and not Path(value).expanduser().is_dir():
            yield Finding("environment", PROBLEM, f"{shown} is not a folder", "name one that is, or unset FASTBP_DATA")
        elif name in HARMLESS or name in READ_ELSEWHERE:
            yield Finding("environment", OK, f"{shown}: {HARMLESS.get(name, 'where data files are looked for first')}")
        elif name.startswith("FASTBP_"):
            known = ", ".join([name for name in HARMLESS if name.startswith("FASTBP_")] + ["FASTBP_DATA"])
            yield Finding("environment", NOTE, f"{shown} is nothing that fastbp reads", f"it reads {known}")
        elif name.startswith("NUMBA_"):
            effect = "may change how kernels are compiled, and they are kept"
            yield Finding(
                "environment", NOTE, f"{shown}: {effect}", f"run: unset {name}; then remove the kernels above"
            )


def _self_test(tell: Callable[[str], None] | None) -> Iterator[Finding]:
    if any(find_spec(name) is None for name in ("numpy", "numba", "safetensors")):
        yield Finding("self-test", PROBLEM, "cannot run without the packages above", "install them first")
        return
    from .selftest import trials

    for trial in trials(tell):
        yield Finding(f"self-test: {trial.name}", OK if trial.passed else PROBLEM, trial.found, trial.advice)


def _whole_kernels() -> bool:
    """True where the cache holds kernels that this process uses."""
    from .kernels.jit import cache_folder

    folder = cache_folder()
    return folder is not None and any(path.suffix == ".kernel" for path in _files(folder))


def _holds(question: Callable[[Path], bool], path: Path) -> bool:
    try:
        return question(path)
    except OSError:
        return False


def _files(folder: Path) -> list[Path]:
    """The plain files in a folder; none where it cannot be read."""
    with suppress(OSError):
        return [path for path in sorted(folder.iterdir()) if path.is_file()]
    return []


def _folders(folder: Path) -> list[Path]:
    with suppress(OSError):
        return [path for path in sorted(folder.iterdir()) if path.is_dir()]
    return []


def _weight(folder: Path) -> int:
    """The bytes of all files below a folder that can be looked at."""
    total = 0
    for here, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(here, name)).st_size
    return total
