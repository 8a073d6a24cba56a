"""The signed token in every link of a campaign's mail: who, of which campaign, in 66 characters.

One HMAC per recipient covers all of the message's links. A click link adds the link's number, which indexes the
campaign's own link table, so that no link can point anywhere else. Routes at the gateway:

    /t/o/{token}            open pixel (analytics)
    /t/c/{token}/{number}   click (analytics)
    /u/{token}              unsubscribe page, and RFC 8058 one-click by POST (campaigns)
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

_VERSION = b"\x01"
_PURPOSE = b"posthorn recipient token v1"
_MAC_BYTES = 16
_PAYLOAD_BYTES = 33


class InvalidRecipientToken(Exception):
    """The token is malformed or was not signed with our secret."""


@dataclass(frozen=True, slots=True)
class RecipientToken:
    """A recipient of a campaign."""

    campaign_id: UUID
    contact_id: UUID

    def sign(self, secret: bytes) -> str:
        """Return the URL-safe token. `secret` has at least 32 bytes."""
        payload = _VERSION + self.campaign_id.bytes + self.contact_id.bytes
        return base64.urlsafe_b64encode(payload + _mac(secret, payload)).decode("ascii").rstrip("=")

    @classmethod
    def verify(cls, token: str, secret: bytes) -> RecipientToken:
        """Return the recipient that `token` names, or raise InvalidRecipientToken."""
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise InvalidRecipientToken from error
        payload, mac = raw[:_PAYLOAD_BYTES], raw[_PAYLOAD_BYTES:]
        if payload[:1] != _VERSION or not hmac.compare_digest(mac, _mac(secret, payload)):
            raise InvalidRecipientToken
        return cls(campaign_id=UUID(bytes=payload[1:17]), contact_id=UUID(bytes=payload[17:33]))


def _mac(secret: bytes, payload: bytes) -> bytes:
    return hmac.digest(secret, _PURPOSE + payload, hashlib.sha256)[:_MAC_BYTES]
