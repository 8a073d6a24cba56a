"""DKIM (RFC 6376, RFC 8463): keys, and signatures over finished messages, relaxed/relaxed.

Canonicalisation is replacing and splitting of whole byte strings, which takes a fraction of what a signature does.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_private_key,
)

from posthorn_mailer.domain.sending_domains import DkimAlgorithm, KeyMaterial

_RSA_BITS = 2048
_PADDING, _SHA256 = padding.PKCS1v15(), hashes.SHA256()
_LINE = 72
_FRAMES_KEPT = 16

# In the order in which they are named. Of a header that occurs more than once all are signed.
SIGNED_HEADERS = (
    b"from",
    b"reply-to",
    b"to",
    b"cc",
    b"subject",
    b"date",
    b"message-id",
    b"in-reply-to",
    b"references",
    b"list-unsubscribe",
    b"list-unsubscribe-post",
    b"list-id",
    b"feedback-id",
    b"precedence",
    b"auto-submitted",
    b"mime-version",
    b"content-type",
    b"content-transfer-encoding",
)
# Signed once more than it is there, so that nobody can add another one for readers to see.
_OVERSIGNED = b"from"

PrivateKey = rsa.RSAPrivateKey | Ed25519PrivateKey


def make_key(algorithm: DkimAlgorithm) -> KeyMaterial:
    """Return a new key. For RSA that takes a good part of a second of CPU."""
    key: PrivateKey
    if algorithm is DkimAlgorithm.RSA:
        key = rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
        public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    else:
        key = Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    private = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    return KeyMaterial(algorithm, private, base64.b64encode(public).decode())


def load_key(private: bytes) -> PrivateKey:
    """Return the key that `make_key` has made."""
    # Checking a key that is our own would take longer than signing many messages with it.
    key = load_der_private_key(private, password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey | Ed25519PrivateKey):
        raise TypeError("not a key for DKIM")
    return key


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the selector under which its public key is published."""

    selector: str
    private: PrivateKey


@dataclass(frozen=True, slots=True)
class _Frame:
    """A signature's header up to the hash of the body: as it is sent, and as it is hashed."""

    key: PrivateKey
    sent: bytes
    hashed: bytes


class DkimSigner:
    """Signs messages of one domain, with every key that it has."""

    def __init__(self, domain: str, keys: Sequence[SigningKey]) -> None:
        self._domain = domain
        self._keys = keys
        self._frames: dict[tuple[bytes, ...], list[_Frame]] = {}
        self._last_body, self._last_body_hash = b"", _body_hash(b"")

    def sign(self, content: bytes) -> bytes:
        """Return the message with a signature by each key before its headers.

        The message has CRLF line ends. The same message gets the same signatures.
        """
        head, _, body = content.partition(b"\r\n\r\n")
        names, hashed_headers = _signed_headers(head)
        body_hash = self._body_hash(body)
        signatures = [
            frame.sent
            + body_hash
            + b";\r\n b="
            + _folded(_signature(frame.key, hashed_headers + frame.hashed + body_hash + b"; b="))
            for frame in self._frames_for(names)
        ]
        return b"\r\n".join((*signatures, content))

    def _body_hash(self, body: bytes) -> bytes:
        """Return the hash of a body; where all bodies are the same it is made once."""
        if body != self._last_body:
            self._last_body_hash = _body_hash(body)
            self._last_body = body
        return self._last_body_hash

    def _frames_for(self, names: tuple[bytes, ...]) -> list[_Frame]:
        frames = self._frames.get(names)
        if frames is None:
            if len(self._frames) >= _FRAMES_KEPT:
                self._frames.clear()
            frames = self._frames[names] = [_frame(self._domain, key, names) for key in self._keys]
        return frames


def canonical_body(body: bytes) -> bytes:
    """Return a body as RFC 6376 §3.4.4 hashes it."""
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    body = _collapsed(body)
    if b" \r\n" in body:
        body = body.replace(b" \r\n", b"\r\n")
    written = body.rstrip(b"\r\n")
    return written + b"\r\n" if written else b""


def _signed_headers(head: bytes) -> tuple[tuple[bytes, ...], bytes]:
    """Return the names of the headers to sign, and these headers as RFC 6376 §3.4.2 hashes them."""
    found: dict[bytes, list[bytes]] = {}
    for line in _collapsed(_unfolded(head)).split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.rstrip(b" ").lower()
        found.setdefault(name, []).append(name + b":" + value.strip(b" "))
    names: list[bytes] = []
    lines: list[bytes] = []
    for name in SIGNED_HEADERS:
        for line in reversed(found.get(name, ())):  # from the last one up, as verifiers look for them
            names.append(name)
            lines.append(line)
        if name == _OVERSIGNED:
            names.append(name)
    lines.append(b"")
    return tuple(names), b"\r\n".join(lines)


def _frame(domain: str, key: SigningKey, names: tuple[bytes, ...]) -> _Frame:
    algorithm = DkimAlgorithm.RSA if isinstance(key.private, rsa.RSAPrivateKey) else DkimAlgorithm.ED25519
    lines, line = [], b" h="
    for position, name in enumerate(names):
        part = name + (b":" if position < len(names) - 1 else b";")
        if len(line) + len(part) > _LINE:
            lines.append(line)
            line = b"  "
        line += part
    head = f"DKIM-Signature: v=1; a={algorithm}; c=relaxed/relaxed;\r\n d={domain};\r\n s={key.selector};"
    sent = b"\r\n".join([head.encode(), *lines, line, b" bh="])
    name, _, value = _collapsed(_unfolded(sent)).partition(b":")
    return _Frame(key.private, sent, name.lower() + b":" + value.strip(b" "))


def _signature(key: PrivateKey, data: bytes) -> bytes:
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, _PADDING, _SHA256)
    return key.sign(hashlib.sha256(data).digest())


def _body_hash(body: bytes) -> bytes:
    return binascii.b2a_base64(hashlib.sha256(canonical_body(body)).digest(), newline=False)


def _folded(signature: bytes) -> bytes:
    text = binascii.b2a_base64(signature, newline=False)
    return b"\r\n ".join(text[at : at + _LINE] for at in range(0, len(text), _LINE))


def _unfolded(head: bytes) -> bytes:
    return head.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t")


def _collapsed(text: bytes) -> bytes:
    """Return text with one space for each run of spaces and tabs."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text
