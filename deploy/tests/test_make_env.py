"""The script that makes secrets."""

from __future__ import annotations

import base64
import shutil
import stat
import subprocess
import sys

import pytest

from posthorn_local.paths import REPOSITORY

TARGETS = {"compose": "compose/.env", "k8s-dev": "k8s/overlays/dev/secrets"}


@pytest.fixture
def script(tmp_path):
    return shutil.copy(REPOSITORY / "deploy" / "make_env.py", tmp_path)


def run(script, target):
    return subprocess.run([sys.executable, script, target], capture_output=True, text=True, check=False)


def written(folder, target):
    place = folder / TARGETS[target]
    return {path: path.read_text() for path in ([place] if place.is_file() else sorted(place.iterdir()))}


@pytest.mark.parametrize("target", TARGETS)
def test_what_it_writes_only_its_owner_can_read(script, tmp_path, target):
    assert run(script, target).returncode == 0

    assert {stat.S_IMODE(path.stat().st_mode) for path in written(tmp_path, target)} == {0o600}


@pytest.mark.parametrize("target", TARGETS)
def test_a_second_run_changes_nothing(script, tmp_path, target):
    run(script, target)
    before = written(tmp_path, target)

    assert run(script, target).returncode == 0
    assert written(tmp_path, target) == before


def test_new_secrets_are_not_mixed_with_old_ones(script, tmp_path):
    run(script, "k8s-dev")
    lost = tmp_path / TARGETS["k8s-dev"] / "valkey.env"
    lost.unlink()
    before = written(tmp_path, "k8s-dev")

    result = run(script, "k8s-dev")

    assert result.returncode == 1
    assert "valkey.env missing" in result.stderr
    assert written(tmp_path, "k8s-dev") == before


def test_secrets_are_32_bytes_each_and_differ(make_env):
    values = make_env["new_secrets"]()

    decoded = [base64.urlsafe_b64decode(value + "=") for value in values.values()]
    assert {len(value) for value in decoded} == {32}
    assert len(set(decoded)) == len(values) == len(make_env["SECRET_NAMES"])


def test_what_is_written_is_ignored_by_git():
    places = [f"deploy/{path}" for path in (TARGETS["compose"], TARGETS["k8s-dev"] + "/auth.env")]

    ignored = subprocess.run(
        ["git", "check-ignore", *places], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )

    assert ignored.stdout.split() == places
