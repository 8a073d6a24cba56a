#!/bin/sh
# Installs one service into a virtual environment: install.sh SERVICE VENV. Run at the repository's root.
#
# The image runs this, and so does a test in a clean environment. Third-party packages come from the service's own
# hash-pinned requirements alone; the workspace's packages are built as wheels, with the pinned build tools.
set -eu

service="$1"
venv="$2"
build="$(mktemp -d)"
trap 'rm -rf "$build"' EXIT

python3 -m venv "$build/tools"
"$build/tools/bin/pip" install --quiet --require-hashes --requirement requirements/build.txt
"$build/tools/bin/pip" wheel --quiet --no-deps --no-build-isolation --wheel-dir "$build/wheels" \
    ./libs/contracts ./libs/common "./services/$service"

python3 -m venv "$venv"
"$venv/bin/pip" install --quiet --require-hashes --requirement "requirements/$service.txt"
"$venv/bin/pip" install --quiet --no-deps --no-index "$build"/wheels/*.whl
"$venv/bin/pip" check
