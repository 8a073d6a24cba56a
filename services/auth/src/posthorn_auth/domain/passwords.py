"""What a password must be: long, and not one that everybody tries first (NIST SP 800-63B §3.1.1.2)."""

from __future__ import annotations

from collections.abc import Collection

from posthorn_auth.domain.errors import WeakPassword

MIN_CHARACTERS = 12
MAX_CHARACTERS = 128


def check_password(password: str, *, common: Collection[str], context: Collection[str] = ()) -> None:
    """Raise WeakPassword if `password` is too short, too long, in `common`, or hardly more than a word of `context`.

    `common` holds lower-case passwords. `context` are words an attacker knows: the user's name, address, organisation.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise WeakPassword(f"The password needs {MIN_CHARACTERS} to {MAX_CHARACTERS} characters.")
    folded = password.casefold()
    if folded in common or len(set(folded)) < 4:
        raise WeakPassword("The password is one that is tried first. Choose another.")
    for word in context:
        if len(word) >= 4 and word.casefold() in folded and len(password) - len(word) < MIN_CHARACTERS // 2:
            raise WeakPassword("The password is too close to the name or address.")
