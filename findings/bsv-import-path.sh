#!/usr/bin/env bash
# Two Python libraries in one program: an SDK for BSV, and the base58 that Bitcoin and IPFS libraries share.
#
# bsv-sdk 2.4.0, base58 2.1.1.
#
# Expected: each can be imported before the other.
# Seen:     `import base58` works before bsv.merkle_path is imported, and fails after it. The SDK puts its own directory first in
#           sys.path, where a base58.py of its own stands, which is no module outside of its package.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install --quiet --disable-pip-version-check bsv-sdk==2.4.0 base58==2.1.1
run() { "$dir/venv/bin/python" -c "$1" 2>&1 | tail -n 1 || true; }

first=$(run 'import base58, bsv.merkle_path; print(base58.b58encode(b"cairn").decode())')
echo "base58 first: $first"
[ "$first" = CDK3Pjb ]
second=$(run 'import bsv.merkle_path, base58')
echo "bsv first: $second"
[ "$second" = "ImportError: attempted relative import with no known parent package" ]
