from __future__ import annotations

import base64
import json
import stat
from dataclasses import asdict

from posthorn_local.secrets_file import load_or_create_secrets


def test_secrets_are_made_once_and_only_their_owner_can_read_them(tmp_path):
    path = tmp_path / "stack" / "secrets.json"

    first, second = load_or_create_secrets(path), load_or_create_secrets(path)

    assert first == second
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_each_secret_is_32_bytes_of_its_own(tmp_path):
    values = asdict(load_or_create_secrets(tmp_path / "secrets.json")).values()

    assert len(set(values)) == len(values)
    assert {len(base64.urlsafe_b64decode(value + "=")) for value in values} == {32}


def test_a_secret_that_an_older_file_lacks_is_added(tmp_path):
    path = tmp_path / "secrets.json"
    first = load_or_create_secrets(path)
    older = asdict(first)
    del older["link_secret"]
    path.write_text(json.dumps(older))

    renewed = load_or_create_secrets(path)

    assert renewed.link_secret != first.link_secret
    assert renewed.internal_secret == first.internal_secret
    assert load_or_create_secrets(path) == renewed


def test_secrets_do_not_show_in_a_traceback(tmp_path):
    secrets = load_or_create_secrets(tmp_path / "secrets.json")

    assert secrets.internal_secret not in repr(secrets)
