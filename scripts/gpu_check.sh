#!/usr/bin/env bash
# Everything that needs an NVIDIA GPU, in one command: facts, tests, compute-sanitizer, speed.
#
#   scripts/gpu_check.sh [FOLDER [options of bench/gpu.py ...]]
#
# Reports go to FOLDER (./gpu-check). It runs from the checkout and installs nothing: what a part needs and the machine
# lacks is named, and the part skipped. A part that fails, or takes too long, does not stop the others. Exit code 0: all
# that could run is good; 1: something failed, or there is no GPU.
#
# PYTHON=python3        the interpreter
# CHECK_SECONDS=560     for everything; nearly half of it is kept for the benchmark
# FASTBP_DATA=...       a folder with mnist/; without it the built-in digits are used
set -uo pipefail

out=${1:-./gpu-check}
shift || true
mkdir -p "$out" && out=$(cd "$out" && pwd) || exit 1
cd "$(dirname "$0")/.." || exit 1
python=${PYTHON:-python3}
all=${CHECK_SECONDS:-560}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
export FASTBP_CACHE_DIR="$work/cache" # also where platformdirs is missing
rm -f "$out"/{facts,tests,memcheck,racecheck,bench,summary}.txt "$out/bench.json"

summary=() bad=0
note() { # result part remark
    summary+=("$(printf '%-8s %-24s %s' "$1" "$2" "$3")")
    printf '%s %s%s\n' "$1:" "$2" "${3:+, $3}"
    if [[ $1 == failed ]]; then bad=1; fi
}

kept=$((all * 3 / 7))
limit() { # seconds, but not more than are left
    local left=$((all - kept - SECONDS))
    echo $(($1 < left ? $1 : left))
}

# part NAME FILE SECONDS COMMAND...: its output goes to FILE, and is shown when it has ended. No pipe: a process that
# outlives its parent would hold it open.
part() {
    local name=$1 file=$2 seconds begun=$SECONDS code before
    seconds=$(limit "$3")
    shift 3
    if ((seconds < 5)); then
        note failed "$name" "no time was left for it"
        return
    fi
    printf '\n=== %s\n' "$name"
    before=$(wc -c 2>/dev/null <"$out/$file" || echo 0)
    timeout -k 10 "$seconds" "$@" >>"$out/$file" 2>&1
    code=$?
    tail -c "+$((before + 1))" "$out/$file"
    case $code in
    0) note ok "$name" "$((SECONDS - begun)) s" ;;
    124 | 137) note failed "$name" "ended after $seconds s" ;;
    *) note failed "$name" "exit code $code, see $file" ;;
    esac
}

lacking() { # MODULE...: those that this Python cannot find
    "$python" - "$@" <<'PYTHON'
import sys
from importlib.util import find_spec

print(" ".join(name for name in sys.argv[1:] if find_spec(name) is None))
PYTHON
}

finish() {
    printf '\n=== summary, %d s\n' "$SECONDS" | tee "$out/summary.txt"
    printf '%s\n' "${summary[@]}" | tee -a "$out/summary.txt"
    exit "$bad"
}

facts() {
    date -u '+%Y-%m-%d %H:%M:%S UTC'
    git log -1 --format='commit %h, %s' 2>/dev/null || echo 'no git here'
    uname -srm
    if command -v nvidia-smi >/dev/null; then
        nvidia-smi --format=csv --query-gpu=name,driver_version,memory.total,compute_cap,compute_mode,clocks.sm,clocks.mem,clocks.max.sm,power.draw,temperature.gpu || nvidia-smi
    else
        echo 'nvidia-smi: not found'
    fi
    for tool in nvcc compute-sanitizer; do
        command -v "$tool" || echo "$tool: not on the PATH"
    done
    "$python" - <<'PYTHON'
import os
import sys
from importlib import metadata

print("python", sys.version.split()[0], sys.executable, os.cpu_count(), "cpus")
names = """numpy numba llvmlite numba-cuda numba-cuda-mlir cuda-bindings cuda-core cuda-toolkit nvidia-cuda-nvrtc
nvidia-nvjitlink torch triton jax jaxlib jax-cuda13-plugin pytest pytest-benchmark hypothesis click rich safetensors
platformdirs"""
for name in names.split():
    try:
        print(name, metadata.version(name))
    except metadata.PackageNotFoundError:
        print(name, "not installed")
PYTHON
}

printf '=== facts\n'
if ! command -v "$python" >/dev/null; then
    note failed facts "there is no $python; name one with PYTHON=..."
    finish
fi
facts 2>&1 | tee "$out/facts.txt"

missing=$(lacking numpy numba)
if [[ -n $missing ]]; then
    note failed fastbp "not installed: $missing"
    finish
fi
gpu=$("$python" - <<'PYTHON'
import sys

sys.path.insert(0, "bench")
from gpu import missing_gpu

print(missing_gpu() or "")
PYTHON
) || gpu="bench/gpu.py cannot be imported"
if [[ -n $gpu ]]; then
    note failed GPU "$gpu"
    for name in tests memcheck racecheck benchmark; do
        note skipped "$name" "no GPU"
    done
    finish
fi
note ok GPU ""

# -- tests
# Only files with tests for the GPU are collected, plugins and warnings of other versions do not matter.
mapfile -t files < <(grep -rlE 'mark\.gpu\b' tests --include='test_*.py')
missing=$(lacking pytest hypothesis)
if [[ -n $missing ]]; then
    note skipped tests "not installed: $missing"
elif ((${#files[@]} == 0)); then
    note skipped tests "no test is marked gpu"
else
    part tests tests.txt 150 "$python" -m pytest -q -m gpu -W default -p no:cacheprovider -o minversion=7 \
        -o addopts='-ra --strict-markers --import-mode=importlib' "${files[@]}"
    # all of them skipped is no success
    if ! grep -qE '[0-9]+ (passed|failed|error)' "$out/tests.txt"; then
        note failed tests "none of them ran, see tests.txt"
    fi
fi

# -- compute-sanitizer: one network, and several side by side, on few samples
sanitizer=$(PATH=$PATH:/usr/local/cuda/bin:/usr/local/cuda/compute-sanitizer command -v compute-sanitizer)
missing=$(lacking click rich safetensors)
if [[ -z $sanitizer ]]; then
    note skipped memcheck "there is no compute-sanitizer"
    note skipped racecheck "there is no compute-sanitizer"
elif [[ -n $missing ]]; then
    note skipped memcheck "not installed: $missing"
    note skipped racecheck "not installed: $missing"
else
    "$python" - "$work/few.npz" <<'PYTHON'
import sys

import numpy as np

rng = np.random.default_rng(0)
x = (rng.integers(1, 256, (300, 784)) * (rng.random((300, 784)) < 0.2)).astype(np.uint8)
y = np.arange(300) % 10
np.savez(sys.argv[1], x_train=x[:200], y_train=y[:200], x_test=x[200:], y_test=y[200:])
PYTHON
    train=("$python" -m fastbp train --data "$work/few.npz" --device cuda --epochs 1 --save "$work/few.safetensors")
    # compiled before, so that the tool does not watch the compiler
    part "train, one network" memcheck.txt 60 "${train[@]}"
    for tool in memcheck racecheck; do
        watched=("$sanitizer" --tool "$tool" --error-exitcode 9)
        part "$tool, one network" "$tool.txt" 60 "${watched[@]}" "${train[@]}"
        part "$tool, four networks" "$tool.txt" 60 "${watched[@]}" "${train[@]}" --seeds 0-3
    done
fi

# -- speed
if (($# == 0)); then
    set -- --networks 1,132,1056 --batch 32 --seconds 3
fi
kept=0 left=$((all - SECONDS))
part benchmark bench.txt "$left" "$python" bench/gpu.py --total "$((left > 60 ? left - 45 : left / 2))" \
    --json "$out/bench.json" "$@"
finish
