"""Verifies DKIM signatures with dkimpy, an implementation that is not ours."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import dkim
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class _BadSignature(Exception):
    pass


class _VerifyKey:
    def __init__(self, key: bytes, encoder: Any) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(base64.b64decode(key))

    def verify(self, digest: bytes, signature: bytes) -> None:
        try:
            self._key.verify(signature, digest)
        except InvalidSignature as error:
            raise _BadSignature from error


def lend_ed25519_to_dkimpy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give dkimpy the one primitive that it takes from PyNaCl, where that is not installed, from OpenSSL."""
    exceptions = SimpleNamespace(BadSignatureError=_BadSignature, ValueError=ValueError)
    nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=_VerifyKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=exceptions,
    )
    monkeypatch.setattr(dkim, "nacl", nacl, raising=False)


def verified(raw: bytes, records: Mapping[str, str], count: int) -> list[bool]:
    """Return whether each of the first `count` signatures is valid, by the TXT records of these names."""

    def texts(name: bytes, timeout: int = 5) -> bytes:
        return records[name.decode().rstrip(".")].encode()

    def valid(number: int) -> bool:
        try:
            return bool(dkim.DKIM(raw).verify(idx=number, dnsfunc=texts))
        except dkim.ValidationError:  # the hash of the body, or what the signature names
            return False

    return [valid(number) for number in range(count)]
