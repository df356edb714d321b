#!/usr/bin/env bash
# Writes requirements.lock from pyproject.toml: one exact version a package, for every platform.
# Versions already locked stay unless they no longer fit; `tools/lock.sh --upgrade` moves them all.
# Needs uv (pip install uv). torch's GPU libraries are left to torch's own wheel to ask for.
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
