#!/usr/bin/env bash
# The one command before a commit: format, lint, types, tests with examples, and benchmarks as smoke tests.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python}
"$python" -m ruff format --check .
"$python" -m ruff check .
"$python" -m mypy
"$python" -m pytest -q "$@"
