"""Codes of authenticator apps by pyotp."""

from __future__ import annotations

import hmac
from datetime import datetime

import pyotp

_PERIOD_SECONDS = 30


class TotpAppCodes:
    """See the port AppCodes: six digits, SHA-1, 30 seconds, which is what all apps know."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer

    def new_secret(self) -> str:
        """Return 160 random bits, base32 (RFC 4226 §4)."""
        return pyotp.random_base32()

    def uri(self, secret: str, email: str) -> str:
        """Return the URI for the QR code."""
        return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=self._issuer)

    def step_of(self, secret: str, code: str, now: datetime) -> int | None:
        """Return the period of a code; one before and one after are allowed for clocks that differ (RFC 6238 §5.2)."""
        generator = pyotp.TOTP(secret)
        present = int(now.timestamp()) // _PERIOD_SECONDS
        found = [
            step
            for step in (present - 1, present, present + 1)
            if hmac.compare_digest(generator.generate_otp(step), code)
        ]
        return max(found, default=None)
