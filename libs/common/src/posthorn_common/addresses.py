"""E-mail addresses: validated and normalised the same way everywhere.

Stricter than RFC 5321 on purpose: no quoted local parts, no address literals, no comments, nothing invisible. What
passes here can be put into an SMTP command as it is.
"""

from __future__ import annotations

import re

from email_validator import EmailNotValidError, validate_email

MAX_CHARACTERS = 254

# The common case, at a hundredth of the price of the full check; whatever it does not match gets the full one.
_PLAIN = re.compile(
    r"(?=.{3,254}\Z)(?=[^@]{1,64}@)"
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@((?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63})\Z"
)


class InvalidAddress(ValueError):
    """The text is no e-mail address that mail can be sent to; the message says why, without the address."""


def normalise_address(text: str) -> str:
    """Return the address in the form in which it is stored and compared: domain and local part in lower case.

    Raises InvalidAddress.
    """
    stripped = text.strip(" \t")
    if len(stripped) > MAX_CHARACTERS:
        raise InvalidAddress(f"is longer than {MAX_CHARACTERS} characters")
    plain = _PLAIN.match(stripped)
    if plain is not None and "xn--" not in stripped and "--" not in plain[1][2:4]:
        return stripped.lower()
    try:
        return validate_email(
            stripped, check_deliverability=False, test_environment=True, strict=True
        ).normalized.lower()
    except EmailNotValidError as error:
        raise InvalidAddress(_without_address(str(error))) from None


def domain_of(address: str) -> str:
    """Return the domain of a normalised address."""
    return address.rpartition("@")[2]


def _without_address(reason: str) -> str:
    """The library quotes parts of the address in some messages; logs and reports hold the reason only."""
    return re.sub(r"'[^']*'|\"[^\"]*\"|\([^)]*\)", "…", reason)
