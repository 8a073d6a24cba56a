"""Addresses as SMTP without extensions can carry them."""

from __future__ import annotations

from email_validator import EmailNotValidError, validate_email


def ascii_form(address: str) -> str:
    """Return the address with its domain in ASCII (RFC 5891) if its local part allows, or as it is."""
    if address.isascii():
        return address
    try:
        return validate_email(address, check_deliverability=False, test_environment=True).ascii_email or address
    except EmailNotValidError:
        return address
