#!/usr/bin/env bash
# Makes the environment that every make target works in: .tools/ (uv), .venv/ (all requirements and the workspace) and,
# unless called with `--python-only`, RabbitMQ. Does nothing when nothing has changed. PIP_* and UV_* settings of the
# machine are respected; no package index is named here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

python="${PYTHON:-python3}"
log=.posthorn/bootstrap.log
stamp=.venv/.posthorn-stamp
workspace=(libs/* services/* deploy/local)

fail() {
    echo "posthorn: $1" >&2
    exit 1
}

step() {
    echo "posthorn: $1 ..."
}

# Runs a command with its output in the log; shows the end of the log when it fails.
quietly() {
    if ! "$@" >>"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "this command failed (whole output: $log): $*"
    fi
}

# apt_install PACKAGE: installs it as root without starting any service.
apt_install() {
    local policy=/usr/sbin/policy-rc.d
    export DEBIAN_FRONTEND=noninteractive
    if [[ ! -e $policy ]]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    # Lists of packages may be missing (a bare machine) or older than the mirror.
    if ! apt-get install -y --no-install-recommends "$1" >>"$log" 2>&1; then
        quietly apt-get update
        quietly apt-get install -y --no-install-recommends "$1"
    fi
}

fingerprint() {
    {
        "$python" --version
        cat deploy/local/bootstrap.sh requirements/uv.txt requirements/dev.txt "${workspace[@]/%//pyproject.toml}"
    } | sha256sum
}

make_tools() {
    if [[ -x .tools/bin/uv ]] && cmp -s requirements/uv.txt .tools/uv.txt; then
        return
    fi
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null ||
            fail "Python's venv module is missing: run \`apt-get install python3-venv\` as root"
        step "installing python3-venv"
        apt_install python3-venv
    fi
    step "installing uv into .tools"
    quietly "$python" -m venv --clear .tools
    quietly .tools/bin/python -m pip install --require-hashes --no-deps -r requirements/uv.txt
    cp requirements/uv.txt .tools/uv.txt
}

make_environment() {
    local now
    now="$(fingerprint)"
    if [[ -x .tools/bin/uv && -f $stamp && $(<"$stamp") == "$now" ]]; then
        return
    fi
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "Python 3.11 or newer is needed; set PYTHON to its name if it is not \`$python\`"
    make_tools
    # uv does not read pip's settings.
    if [[ -n ${PIP_INDEX_URL:-} ]]; then export UV_DEFAULT_INDEX="${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}"; fi
    if [[ -n ${PIP_CERT:-} ]]; then export SSL_CERT_FILE="${SSL_CERT_FILE:-$PIP_CERT}"; fi
    local uv=(.tools/bin/uv --quiet)
    if [[ ! -x .venv/bin/python ]]; then
        step "making .venv"
        quietly "${uv[@]}" venv --python "$(command -v "$python")" .venv
    fi
    step "installing requirements into .venv"
    quietly "${uv[@]}" pip sync --python .venv --require-hashes requirements/dev.txt
    step "installing the workspace into .venv"
    quietly "${uv[@]}" pip install --python .venv --no-deps --no-build-isolation "${workspace[@]/#/--editable=}"
    echo "$now" >"$stamp"
}

make_rabbitmq() {
    if [[ -n ${POSTHORN_AMQP_URL:-} || -x /usr/lib/rabbitmq/bin/rabbitmq-server ]]; then
        return
    fi
    [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null || fail "RabbitMQ is missing: run \`apt-get install \
rabbitmq-server\` as root, or set POSTHORN_AMQP_URL to the address of a server"
    step "installing RabbitMQ (it is not started as a service)"
    apt_install rabbitmq-server
}

mkdir -p .posthorn
# Two terminals may call make at once.
exec 9>.posthorn/bootstrap.lock
flock 9
make_environment
if [[ ${1:-} != --python-only ]]; then
    make_rabbitmq
fi
