"""Links to files of our own, signed, good for a while, for whoever has them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

_PURPOSE = b"posthorn download link v1"
_MAC_BYTES = 16
_PAYLOAD_BYTES = 24


class InvalidDownloadLink(Exception):
    """The link is malformed, was not signed with our secret, or has expired."""


@dataclass(frozen=True, slots=True)
class DownloadLink:
    """A file, and until when it may be had. Seconds count."""

    file_id: UUID
    expires_at: datetime

    def sign(self, secret: bytes) -> str:
        """Return the URL-safe token. `secret` has at least 32 bytes."""
        payload = self.file_id.bytes + int(self.expires_at.timestamp()).to_bytes(8)
        return base64.urlsafe_b64encode(payload + _mac(secret, payload)).decode("ascii").rstrip("=")

    @classmethod
    def verify(cls, token: str, secret: bytes, now: datetime) -> DownloadLink:
        """Return what a token names. Raises InvalidDownloadLink."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidDownloadLink from error
        payload, mac = raw[:_PAYLOAD_BYTES], raw[_PAYLOAD_BYTES:]
        if not hmac.compare_digest(mac, _mac(secret, payload)):
            raise InvalidDownloadLink
        link = cls(UUID(bytes=payload[:16]), datetime.fromtimestamp(int.from_bytes(payload[16:]), UTC))
        if link.expires_at <= now:
            raise InvalidDownloadLink
        return link


def _mac(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + payload, hashlib.sha256)[:_MAC_BYTES]
