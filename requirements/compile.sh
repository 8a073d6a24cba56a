#!/usr/bin/env bash
# Writes the hash-pinned requirements into this folder: compile.sh [--check | --upgrade].
#   dev.txt      everything the workspace and its tools need; all other files agree with its versions
#   <service>.txt   what the image of one service needs
#   build.txt    what builds the wheels of the workspace     uv.txt   the installer itself
# Without an option existing pins are kept. --check compiles beside and fails if the result differs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

mode="${1:-}"
output=requirements
upgrade=()
case "$mode" in
    "") ;;
    --upgrade) upgrade=(--upgrade) ;;
    --check)
        output="$(mktemp -d)"
        trap 'rm -rf "$output"' EXIT
        cp requirements/*.txt "$output"
        ;;
    *)
        echo "usage: compile.sh [--check | --upgrade]" >&2
        exit 2
        ;;
esac

libraries=(libs/contracts/pyproject.toml libs/common/pyproject.toml)
compile() {
    local file="$output/$1"
    shift
    local command=(.tools/bin/uv --quiet pip compile --universal --python-version 3.11 --generate-hashes
        --no-header --no-annotate --no-emit-index-url --no-emit-find-links
        "${own[@]}" "${upgrade[@]}" --output-file "$file" "$@")
    # Pins are kept, so uv's cache mostly knows enough; asking the index takes ten times as long.
    if [[ $mode == --upgrade ]] || ! "${command[@]}" --offline >/dev/null 2>&1; then
        "${command[@]}" >/dev/null
    fi
}

own=()
for project in libs/* services/* deploy/local; do
    own+=(--no-emit-package "posthorn-$(basename "$project")")
done

compile uv.txt requirements/uv.in
compile dev.txt "${libraries[@]}" services/*/pyproject.toml deploy/local/pyproject.toml --group pyproject.toml:dev
# Pins come from dev.txt from here on.
for service in services/*; do
    compile "$(basename "$service").txt" "${libraries[@]}" "$service/pyproject.toml" --constraints "$output/dev.txt"
done
compile build.txt requirements/build.in --constraints "$output/dev.txt"

if [[ $mode == --check ]] && ! diff --recursive --brief --exclude='*.in' --exclude='*.sh' requirements "$output"; then
    echo "requirements are not current: run \`make requirements\`" >&2
    exit 1
fi
