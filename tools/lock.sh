#!/usr/bin/env bash
# Write requirements.lock from pyproject.toml: one exact version per package, for every platform.
# Locked versions stay if they still fit. `tools/lock.sh --upgrade` moves all of them except torch,
# whose version is set here. Needs uv (pip install uv).
# The lock leaves out torch's GPU libraries: the torch wheel of each platform requires its own.
set -euo pipefail
cd "$(dirname "$0")/.."

torch=2.13.0
resolved=$(mktemp)
trap 'rm -f "$resolved"' EXIT
if [ -f requirements.lock ]; then cp requirements.lock "$resolved"; fi

echo "torch==$torch" | uv pip compile pyproject.toml --extra dev --constraint - \
    --universal --python-version 3.11 --fork-strategy fewest \
    --no-header --no-annotate --quiet --output-file "$resolved" "$@"

{
    echo "# Exact versions of everything that spineseg and its dev extra need. Written by \`make lock\`."
    grep -vE '^(#|nvidia-|cuda-|triton)' "$resolved"
} > requirements.lock
