"""Kill, interrupt and starve runs in folders, many times, and count how often fastbp keeps what it promises of them.

    python scripts/crash_campaign.py [--quick] [--only kills,saving,disk,signals,costs] [--json PATH] [--seed 0]

It runs the real command in processes of its own and takes about 15 minutes; --quick takes two. The promises:

    kills     a run that is killed at any moment, and again while it goes on, is resumed to the very same model file
    saving    a kill while files are written leaves each of them whole
    disk      a disk error (Linux, with a C compiler) is one sentence and exit code 1, leaves what was there, and the
              run goes on later; so do a disk that is full and a file that may not grow
    signals   Ctrl-C and SIGTERM end the command with 130 and 143: in the median within 1 s, at worst 3
    costs     checkpoints take under 2 ms and under 1 % of the time

Needs Unix. FASTBP_DATA may name a folder with MNIST; without it, digits are drawn. Exit code 1 where a promise is not
kept. Moments are drawn from --seed, but what a kill hits differs from time to time.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, sleep
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from fastbp.errors import DivergedError, FastbpError  # noqa: E402
from fastbp.files import write_atomically  # noqa: E402
from fastbp.model import load  # noqa: E402
from fastbp.runs.checkpoint_file import read_state  # noqa: E402
from fastbp.runs.folder import NAMES, RunFolder  # noqa: E402
from fastbp.settings_file import read_settings  # noqa: E402

# The command, with checkpoints as often as there is something new: what takes hours comes in a second.
OFTEN = """
import sys
from fastbp.runs import keeping
from fastbp.__main__ import main

keeping.AFTER_EPOCHS, keeping.WITHIN_EPOCHS, keeping.BETWEEN_MODELS, keeping.MOST_SHARE = {after}, {within}, 0.0, 1e9
sys.exit(main())
"""
ERRNOS = ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EACCES")
TIMES = re.compile(r'"(seconds|samples_per_second|train_seconds)": [^,}\n]+')
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}


class Bench:
    """A scratch folder with data in it, and how to start commands there."""

    def __init__(self, scratch: Path, seed: int) -> None:
        self.scratch, self.draw = scratch, random.Random(seed)
        self.environment = {key: text for key, text in os.environ.items() if not key.startswith(("PYTHON", "FASTBP_"))}
        self.environment |= {"PYTHONPATH": str(ROOT), "FASTBP_CACHE_DIR": str(scratch / "cache")}
        if "FASTBP_DATA" in os.environ:
            self.environment["FASTBP_DATA"] = os.environ["FASTBP_DATA"]
        self.images = "mnist" if "FASTBP_DATA" in os.environ else "digits"
        self._write_data()

    def _write_data(self) -> None:
        rng = np.random.default_rng(0)
        centres, y = rng.normal(size=(3, 12)), np.arange(2400) % 3
        x = centres[y] + 1.5 * rng.normal(size=(2400, 12))
        np.savez(self.scratch / "points.npz", x_train=x[:2000], y_train=y[:2000], x_test=x[2000:], y_test=y[2000:])
        x = rng.uniform(0.0, 0.7, size=(1500, 2))
        y = x[:, :1] - x[:, 1:] + 0.2
        np.savez(self.scratch / "line.npz", x_train=x, y_train=y, x_test=x[:40], y_test=y[:40])

    def command(self, *words: object, often: tuple[float, float] | None = None) -> list[str]:
        if often is None:
            return [sys.executable, "-m", "fastbp", *map(str, words)]
        return [sys.executable, "-c", OFTEN.format(after=often[0], within=often[1]), *map(str, words)]

    def start(self, command: list[str], **settings: Any) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": self.scratch}
        return subprocess.Popen(command, **{"env": self.environment, **pipes, **settings})

    def run(self, command: list[str], **settings: Any) -> tuple[int, str]:
        """(exit code, what it said on stderr)"""
        process = self.start(command, **settings)
        _, said = process.communicate(timeout=300)
        return process.returncode, said

    def folder(self, name: str) -> Path:
        path = self.scratch / name
        shutil.rmtree(path, ignore_errors=True)
        return path


def highest_rate(bench: Bench) -> float:
    """A learning rate from which `on_nan restore` comes back to one that works."""
    from fastbp import train

    parts = np.load(bench.scratch / "line.npz")
    data = (parts["x_train"], parts["y_train"])
    linear = {"layers": "3", "activation": "identity", "output_activation": "identity", "cost": "squared_error"}
    often = {"schedule": "constant", "batch_size": 1, "normalize": "none", "optimizer": "momentum", "epochs": 5}
    rate = 1.0
    while True:
        try:
            train(data, **linear, **often, learning_rate=rate)
            return 2 * rate
        except DivergedError:
            rate *= 0.8


def kinds(rate: float) -> dict[str, tuple[list[object], tuple[float, float]]]:
    """Runs of about a second: their options, and how often they are kept (seconds after and within epochs)."""
    points: list[object] = ["--data", "points.npz"]
    adam = ["--optimizer", "adam", "--learning-rate", 0.003]
    linear = ["--layers", 3, "--activation", "identity", "--output-activation", "identity", "--cost", "squared_error"]
    return {
        "sgd": ([*points, "--epochs", 300], (0.0, 1e9)),
        "adam, dropout, cosine": (
            [*points, "--epochs", 150, "--layers", "32-16", *adam, "--dropout", 0.2, "--schedule", "cosine"],
            (0.02, 1e9),
        ),
        "early stopping": ([*points, "--epochs", 900, "--validation", 0.2, "--patience", 120, *adam], (0.0, 1e9)),
        "float64": ([*points, "--epochs", 200, "--dtype", "float64", "--optimizer", "momentum"], (0.05, 1e9)),
        "on_nan restore": (
            ["--data", "line.npz", *linear, "--schedule", "constant", "--batch-size", 1, "--normalize", "none"]
            + ["--optimizer", "momentum", "--on-nan", "restore", "--epochs", 150, "--learning-rate", rate],
            (0.0, 0.0),
        ),
        "long epochs": (
            [*points, "--epochs", 3, "--layers", "128-128", "--batch-size", 1, *adam, "--dropout", 0.1],
            (0.0, 0.0),
        ),
    }


def kept(folder: Path) -> dict[str, Any]:
    """What must not depend on interruptions."""
    return {
        "model": folder.joinpath("model.safetensors").read_bytes(),
        "config": folder.joinpath("config.toml").read_bytes(),
        "metrics": TIMES.sub("", folder.joinpath("metrics.jsonl").read_text()),
        "summary": TIMES.sub("", folder.joinpath("summary.json").read_text()),
    }


def unreadable(folder: Path) -> list[str]:
    """Names of files of a run that are damaged, and of temporary files."""
    reads: dict[str, Callable[[Path], Any]] = {
        "config.toml": read_settings,
        "metrics.jsonl": lambda path: RunFolder(path.parent).history(),
        "summary.json": lambda path: json.loads(path.read_text()),
        "model.safetensors": load,
        "checkpoint.safetensors": read_state,
        "start.safetensors": load,
    }
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.name in reads:
            try:
                reads[path.name](path)
            except (FastbpError, ValueError):
                found.append(path.name)
        elif path.name != ".lock":
            found.append(path.name)
    return found


def where(folder: Path) -> str:
    """What a run was doing when it was killed, by what it left."""
    if any(folder.glob(".*.tmp")):
        return "while writing a file"
    if not folder.exists():
        return "starting, loading"
    for name, words in ((NAMES[4], "at the end"), (NAMES[3], "training, checkpoint"), (NAMES[0], "training, none yet")):
        if (folder / name).exists():
            return words
    return "opening, compiling"


def until_it_trains(process: subprocess.Popen[str], folder: Path) -> None:
    """Wait until a run trains: it has written its settings, in place of those of the run that it goes on with."""
    file = folder / "config.toml"
    before = file.stat().st_ino if file.exists() else None
    while process.poll() is None and (not file.exists() or file.stat().st_ino == before):
        sleep(0.001)


def kills(bench: Bench, count: int) -> dict[str, Any]:
    """kill -9 at random moments of the life of runs, some of them again while they are resumed."""
    moments: Counter[str] = Counter()
    wrong, killed = [], 0
    all_kinds = kinds(highest_rate(bench))
    wholes = {}
    for name, (options, often) in all_kinds.items():
        folder = bench.folder("whole")
        command = bench.command("train", *options, "--quiet", "--out", folder, often=often)
        bench.run(command)  # compiles
        folder = bench.folder("whole")
        begun = perf_counter()
        code, said = bench.run(command)
        if code != 0:
            raise SystemExit(f"{name}: exit code {code}: {said}")
        wholes[name] = kept(folder), perf_counter() - begun
        if name == "on_nan restore" and '"restores": 0' in wholes[name][0]["summary"]:
            raise SystemExit(f"{name}: nothing had to be restored")
        print(f"  {name}: {wholes[name][1]:.2f} s", file=sys.stderr)
    for trial in range(count):
        name = list(all_kinds)[trial % len(all_kinds)]
        (options, often), (whole, lasts) = all_kinds[name], wholes[name]
        folder, left = bench.folder("killed"), 1 + trial % 3
        while True:
            how = ["--resume", folder] if (folder / "config.toml").exists() else [*options, "--out", folder]
            process = bench.start(bench.command("train", *how, "--quiet", often=often))
            if left == 0:
                _, said = process.communicate(timeout=120)
                break
            if bench.draw.random() < 0.6:  # the others at any moment, of which most are before training
                until_it_trains(process, folder)
            sleep(bench.draw.uniform(0.0, lasts))
            process.kill()
            process.communicate()
            if process.returncode == 0:  # it had ended: too late to count
                lasts *= 0.9  # how busy the machine is changes
                folder = bench.folder("killed")
                continue
            lasts *= 1.02
            moments[where(folder)] += 1
            killed += 1
            left -= 1
            if damaged := [each for each in unreadable(folder) if not each.endswith(".tmp")]:
                wrong.append(f"trial {trial} ({name}): unreadable after a kill: {damaged}")
        wholes[name] = whole, lasts
        if process.returncode != 0:
            wrong.append(f"trial {trial} ({name}): exit code {process.returncode}: {said.strip()}")
        elif unreadable(folder):
            wrong.append(f"trial {trial} ({name}): {unreadable(folder)} at the end")
        elif different := [part for part, value in kept(folder).items() if value != whole[part]]:
            wrong.append(f"trial {trial} ({name}): not the same: {', '.join(different)}")
    return {
        "promise": f"{count} runs, killed {killed} times: the same model file",
        "figure": f"{count - len({each.split(' ')[1] for each in wrong})} of {count}",
        "kept": not wrong,
        "details": dict(moments.most_common()),
        "wrong": wrong,
    }


def saving(bench: Bench, count: int) -> dict[str, Any]:
    """kill -9 while a process does nothing but write the files of a run, as `Keeper` does."""
    source = bench.folder("source")
    versions: dict[str, list[bytes]] = {name: [] for name in NAMES[2:5]}
    for epochs in (1, 2, 3):  # one that begins, and two that go on
        how = ["--resume", source] if epochs > 1 else ["--data", bench.images, "--out", source]
        code, said = bench.run(bench.command("train", *how, "--epochs", epochs, "--quiet"))
        if code != 0:
            raise SystemExit(said)
        for name, found in versions.items():
            found.append((source / name).read_bytes())
    names = {name: {hashlib.sha256(data).digest() for data in found} for name, found in versions.items()}
    folder = bench.folder("saved")
    folder.mkdir()
    wrong, halves, n_files = [], 0, 0
    for trial in range(count):
        child = os.fork()
        if child == 0:
            try:
                while True:
                    for number in range(3):
                        for name, found in versions.items():
                            write_atomically(folder / name, found[number])
            finally:
                os._exit(1)
        sleep(bench.draw.uniform(0.0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        halves += any(folder.glob(".*.tmp"))
        for name, known in names.items():
            path = folder / name
            if path.exists():
                n_files += 1
                if hashlib.sha256(path.read_bytes()).digest() not in known:
                    wrong.append(f"kill {trial}: {name} is none of those that were written")
        run = RunFolder(folder)
        run.claim(new=False)
        run.release()
        if any(folder.glob(".*.tmp")):
            wrong.append(f"kill {trial}: temporary files stay")
    return {
        "promise": f"{count} kills while saving: every file whole",
        "figure": f"{len(wrong)} unreadable of {n_files}",
        "kept": not wrong,
        "details": {"half-written temporary files, cleared by the next run": halves},
        "wrong": wrong,
    }


def disk_cases() -> list[dict[str, Any]]:
    """Which call on which file fails, from which time on; in a new run, or in one that goes on."""
    cases = []
    for word in ERRNOS:
        for call in ("open", "write", "fsync", "rename"):
            for file in NAMES[:5]:
                for resumed in (False, True):
                    often = file in NAMES[2:4]  # written many times
                    for skip in (0, 3) if often and not resumed else (2,) if often else (0,):
                        cases.append({"errno": word, "call": call, "file": file, "skip": skip, "resumed": resumed})
        cases.append({"errno": word, "call": "fsync", "file": "=", "skip": 3, "resumed": True})
        cases.append({"errno": word, "call": "open", "file": ".lock", "skip": 0, "resumed": True})
        for skip, room in ((4, 0), (4, 30)):  # a line of metrics, after the file that is written whole
            file = "/metrics.jsonl"
            cases.append({"errno": word, "call": "write", "file": file, "skip": skip, "resumed": True, "short": room})
    return cases


def disk(bench: Bench, count: int) -> dict[str, Any]:
    """Errors of the disk under the real command, then the same without them."""
    library = bench.scratch / "disk_faults.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        return {"promise": "disk errors", "figure": "not tried: no C compiler, or no Linux", "kept": True}
    source = ROOT / "scripts" / "disk_faults.c"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    options: list[object] = ["--data", "points.npz", "--epochs", 8, "--quiet"]
    often = (0.0, 1e9)
    whole, half = bench.folder("whole"), bench.folder("half")
    bench.run(bench.command("train", *options, "--out", whole, often=often))
    expected = kept(whole)
    # a run that was cut after three epochs: a disk error leaves one
    fault = {
        "FAULT_CALL": "rename",
        "FAULT_FILE": NAMES[3],
        "FAULT_ERRNO": "5",
        "FAULT_SKIP": "3",
        "FAULT_DIR": str(half),
    }
    injected = {**bench.environment, "LD_PRELOAD": str(library), **fault}
    code, said = bench.run(bench.command("train", *options, "--out", half, often=often), env=injected)
    if code != 1 or unreadable(half):
        raise SystemExit(f"no half of a run: exit code {code}, {said}, {unreadable(half)}")
    cases = disk_cases()
    bench.draw.shuffle(cases)
    cases = cases[:count] if count else cases
    wrong, sentences, hits = [], Counter(), 0
    for case in cases:
        folder = bench.folder("run")
        if case["resumed"]:
            shutil.copytree(half, folder)
        before = contents(folder)
        how = ["--resume", folder, "--quiet"] if case["resumed"] else [*options, "--out", folder]
        settings = {
            "FAULT_DIR": folder, "FAULT_CALL": case["call"], "FAULT_FILE": case["file"], "FAULT_SKIP": case["skip"],
            "FAULT_ERRNO": getattr(errno, case["errno"]), "FAULT_SHORT": case.get("short", 0), "LD_PRELOAD": library,
        }  # fmt: skip
        injected = {**bench.environment, **{name: str(value) for name, value in settings.items()}}
        code, said = bench.run(bench.command("train", *how, often=often), env=injected)
        problems = problems_of(folder, before, case, code, said)
        hits += code == 1
        sentences[re.sub(r"/\S*/", "", said.strip())[:100]] += 1
        how = ["--resume", folder] if (folder / "config.toml").exists() else [*options, "--out", folder]
        code, said = bench.run(bench.command("train", *how, often=often))
        if code != 0:
            problems.append(f"afterwards exit code {code}: {said.strip()}")
        elif different := [part for part, value in kept(folder).items() if value != expected[part]]:
            problems.append(f"afterwards not the same: {', '.join(different)}")
        wrong += [f"{case}: {problem}" for problem in problems]
    limits = [*full_disk(bench, options, expected), *small_files(bench, options, expected)]
    failed = len({each.split("}: ")[0] for each in wrong})
    return {
        "promise": f"{len(cases)} disk errors: 1 sentence, exit code 1, old files whole, resumed to the same",
        "figure": f"{len(cases) - failed} of {len(cases)}, {hits} of them ended the run",
        "kept": not wrong and not any(limits),
        "details": {
            "full disk, file size limit": "kept" if not any(limits) else "broken",
            **dict(sentences.most_common(5)),
        },
        "wrong": [*wrong, *filter(None, limits)],
    }


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in NAMES if (folder / name).exists()}


def problems_of(folder: Path, before: dict[str, bytes], case: dict[str, Any], code: int, said: str) -> list[str]:
    """What is wrong with how a command took a disk error."""
    problems = []
    lines = said.strip().split("\n")
    if code != 1:
        problems.append(f"exit code {code}")
    if len(lines) != 1 or not lines[0].startswith("Error: ") or "Traceback" in said:
        problems.append(f"said {said!r}")
    if os.strerror(getattr(errno, case["errno"])) not in said:
        problems.append(f"does not say why: {said!r}")
    if damaged := unreadable(folder):
        problems.append(f"left damaged: {damaged}")
    name = case["file"].strip("/")
    if case["skip"] == 0 and name in NAMES:
        after = contents(folder)
        allowed = (
            (None,) if name == "summary.json" else (before.get(name), b"") if name == NAMES[1] else (before.get(name),)
        )
        if after.get(name) not in allowed:  # lines of metrics are added to a file that begins empty
            problems.append(f"{name} is not what it was")
    return problems


def full_disk(bench: Bench, options: list[object], expected: dict[str, Any]) -> list[str]:
    """A file system of its own without room, where this process may mount one."""
    place = bench.folder("small")
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True).returncode != 0:
        print("  no file system can be mounted: a disk that is really full is not tried", file=sys.stderr)
        return []
    try:
        wrong = []
        for room in (0, 4096, 8192, 12288, 16384):
            folder = place / "run"
            shutil.rmtree(folder, ignore_errors=True)
            (place / "ballast").write_bytes(bytes(2**20 - 8192 - room - 4096))
            code, said = bench.run(bench.command("train", *options, "--out", folder, often=(0.0, 1e9)))
            if code != 1 or "No space left on device" not in said or unreadable(folder):
                wrong.append(f"{room} bytes free: exit code {code}, {said.strip()}, {unreadable(folder)}")
            (place / "ballast").unlink()
            how = ["--resume", folder] if (folder / "config.toml").exists() else [*options, "--out", folder]
            code, said = bench.run(bench.command("train", *how))
            if code != 0 or kept(folder) != expected:
                wrong.append(f"{room} bytes free: afterwards exit code {code}, {said.strip()}")
        return wrong
    finally:
        subprocess.run(["umount", str(place)], check=True)


def small_files(bench: Bench, options: list[object], expected: dict[str, Any]) -> list[str]:
    """Files that may not grow beyond some size: a write takes a part, and the next one fails."""
    import resource

    wrong = []
    for most in (100, 700, 1000, 1500, 4000, 6000):
        folder = bench.folder("limited")
        code, said = bench.run(
            bench.command("train", *options, "--out", folder, often=(0.0, 1e9)),
            preexec_fn=lambda most=most: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        )
        if code != 1 or "File too large" not in said or unreadable(folder):
            wrong.append(f"files of {most} bytes: exit code {code}, {said.strip()}, {unreadable(folder)}")
        how = ["--resume", folder] if (folder / "config.toml").exists() else [*options, "--out", folder]
        code, said = bench.run(bench.command("train", *how))
        if code != 0 or kept(folder) != expected:
            wrong.append(f"files of {most} bytes: afterwards exit code {code}, {said.strip()}")
    return wrong


def listens(process: subprocess.Popen[str]) -> None:
    """Wait until fastbp hears signals; before, Python itself would end."""
    mask = 1 << (signal.SIGTERM - 1)
    while process.poll() is None:
        status = Path(f"/proc/{process.pid}/status")
        text = status.read_text() if status.exists() else f"SigCgt:\t{mask:x}"
        if int(re.search(r"SigCgt:\s*([0-9a-f]+)", text)[1], 16) & mask:
            return
        sleep(0.001)


def until(process: subprocess.Popen[str], words: str) -> None:
    """Wait for a line on stderr."""
    for line in process.stderr or ():
        if re.match(words, line):
            return
    raise SystemExit(f"{words!r} was never said")


def signals(bench: Bench, count: int) -> dict[str, Any]:
    """Ctrl-C and SIGTERM, and how long the command takes to end; a second Ctrl-C."""
    images: list[object] = ["train", "--data", bench.images, "--out"]
    endless: list[object] = ["--epochs", 100_000]
    wide: list[object] = [*endless, "--layers", "512-512", "--batch-size", 128]
    bench.run(bench.command(*images, bench.folder("warm"), "--epochs", 1))
    bench.run(bench.command(*images, bench.folder("warm"), "--epochs", 0, "--layers", "512-512"))
    few = max(2, count // 3)
    phases: dict[str, tuple[int, list[object], str | None, tuple[float, float], dict[str, Any]]] = {
        # how many, options, the line to wait for, seconds to wait then, other settings
        "training": (count, endless, r" +1 ", (0.0, 1.0), {}),
        "training a wide net": (few, wide, r" *epoch ", (0.0, 4.0), {}),
        "saving all the time": (few, endless, r" +1 ", (0.0, 0.5), {"often": (0.0, 0.0)}),
        "compiling": (count, endless, r"compiling", (0.0, 5.0), {"empty": True}),
        "first epoch, newly compiled": (few, endless, r"training ", (0.0, 1.5), {"empty": True}),
        "starting, loading": (few, endless, None, (0.0, 0.5), {}),
        "training, Ctrl-C twice": (few, wide, r" *epoch ", (0.5, 4.0), {"twice": True}),
    }
    wrong, details, all_times = [], {}, []
    for phase, (tries, options, line, (least, most), more) in phases.items():
        times = []
        for trial in range(tries):
            number = signal.SIGINT if trial % 2 == 0 or more.get("twice") else signal.SIGTERM
            folder = bench.folder("signalled")
            environment = dict(bench.environment)
            if more.get("empty"):
                environment["FASTBP_CACHE_DIR"] = str(bench.folder("empty"))
            process = bench.start(bench.command(*images, folder, *options, often=more.get("often")), env=environment)
            until(process, line) if line else listens(process)
            sleep(bench.draw.uniform(least, most))
            begun_training = (folder / "config.toml").exists()
            if more.get("twice"):
                process.send_signal(number)
                sleep(0.25)
            begun = perf_counter()
            process.send_signal(number)
            try:
                _, said = process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                _, said = process.communicate()
            times.append(perf_counter() - begun)
            problem = None
            if process.returncode != CODES[number]:
                problem = f"exit code {process.returncode}"
            elif "Traceback" in said or len(re.findall("^Error: ", said, re.M)) != 1:
                problem = "no single sentence"
            elif unreadable(folder):
                problem = f"left {unreadable(folder)}"
            elif begun_training and not more.get("twice") and not (folder / NAMES[3]).exists():
                problem = "no checkpoint"
            elif not begun_training and folder.exists() and not (folder / NAMES[0]).exists():
                problem = "an empty folder is left"
            if problem:
                wrong.append(f"{phase}, {number.name}: {problem}; {said[-300:].strip()}")
        all_times += times if not more.get("twice") else []
        details[phase] = f"{tries} tries: median {statistics.median(times):.3f} s, at worst {max(times):.3f} s"
        print(f"  {phase}: {details[phase]}", file=sys.stderr)
        if max(times) > (1 if more.get("twice") else 3):
            wrong.append(f"{phase}: {details[phase]}")
    if statistics.median(all_times) > 1:
        wrong.append("1 s in the median")
    return {
        "promise": f"{len(all_times)} times Ctrl-C or SIGTERM: 130 or 143, 1 s in the median, at worst 3 s",
        "figure": f"median {statistics.median(all_times):.3f} s, at worst {max(all_times):.3f} s, {len(wrong)} wrong",
        "kept": not wrong,
        "details": details,
        "wrong": wrong,
    }


COSTS = """
import json, sys, tempfile
from time import perf_counter
from fastbp import load_dataset, train_to
from fastbp.runs.keeping import Keeper

spent, saves = [], []
for name, times in (("on_batches", spent), ("on_epoch", spent), ("on_end", spent), ("_save", saves)):
    def timed(self, *what, call=getattr(Keeper, name), times=times, **how):
        begun = perf_counter()
        call(self, *what, **how)
        times.append(perf_counter() - begun)
    setattr(Keeper, name, timed)
name, layers, batch, epochs, limit = sys.argv[1:]
data = load_dataset(name)
with tempfile.TemporaryDirectory(dir=".") as folder:
    train_to(folder + "/warm", data, layers=layers, batch_size=int(batch), epochs=0)
    spent.clear(), saves.clear()
    begun = perf_counter()
    train_to(folder + "/run", data, layers=layers, batch_size=int(batch), epochs=int(epochs), time_limit=float(limit))
    print(json.dumps({"seconds": perf_counter() - begun, "spent": sum(spent), "saves": saves}))
"""


def costs(bench: Bench, limit: float) -> dict[str, Any]:
    """What keeping a run takes of its time."""
    wrong, details, figures = [], {}, []
    for layers, batch in (("16-16", 32), ("512-512", 128)):
        command = [sys.executable, "-c", COSTS, bench.images, layers, str(batch), "100000", str(limit)]
        process = bench.start(command)
        out, said = process.communicate(timeout=300)
        if process.returncode != 0:
            raise SystemExit(said)
        found = json.loads(out)
        times = [1e3 * each for each in found["saves"]]
        share = found["spent"] / found["seconds"]
        details[layers] = (
            f"{len(times)} checkpoints in {found['seconds']:.1f} s: median {statistics.median(times):.2f} ms, "
            f"at worst {max(times):.2f} ms; with the lines of metrics {100 * share:.2f} % of the time"
        )
        figures.append(f"{layers}: {statistics.median(times):.2f} ms, {100 * share:.2f} %")
        if share > 0.01 or (layers == "16-16" and statistics.median(times) > 2):
            wrong.append(f"{layers}: {details[layers]}")
    return {
        "promise": "a checkpoint: under 2 ms (16-16), under 1 % of the time",
        "figure": "; ".join(figures),
        "kept": not wrong,
        "details": details,
        "wrong": wrong,
    }


# (what measures, how much of it, how much with --quick)
PARTS: dict[str, tuple[Callable[[Bench, Any], dict[str, Any]], float, float]] = {
    "kills": (kills, 50, 6),
    "saving": (saving, 200, 40),
    "disk": (disk, 0, 20),  # 0: all cases
    "signals": (signals, 30, 3),
    "costs": (costs, 20.0, 4.0),
}


def main() -> int:
    parser = ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a few of each, in two minutes")
    parser.add_argument("--only", metavar="NAMES", default=",".join(PARTS), help="some of " + ",".join(PARTS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures to this file")
    given = parser.parse_args()
    if unknown := set(given.only.split(",")) - set(PARTS):
        parser.error(f"there is no {', '.join(sorted(unknown))}; choose from {', '.join(PARTS)}")
    if not hasattr(os, "fork"):
        parser.error("this needs Unix")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # what `&` ignores, the commands would ignore too
    results = {}
    with tempfile.TemporaryDirectory(prefix="fastbp-crash-") as name:
        bench = Bench(Path(name), given.seed)
        for part in given.only.split(","):
            measure, whole, quick = PARTS[part]
            print(f"{part} ...", file=sys.stderr)
            begun = perf_counter()
            results[part] = {**measure(bench, quick if given.quick else whole), "seconds": perf_counter() - begun}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for part, found in results.items():
        print(f"{part:<8} {'kept' if found['kept'] else 'BROKEN':<7} {found['promise']}: {found['figure']}")
        for words, figure in found.get("details", {}).items():
            print(f"{'':<16} {words}: {figure}")
        for words in found.get("wrong", [])[:20]:
            print(f"{'':<16} WRONG {words}")
    return int(not all(found["kept"] for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
