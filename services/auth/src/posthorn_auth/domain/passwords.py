"""What a password must be: long, and not one that everybody tries first (NIST SP 800-63B §3.1.1.2)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from posthorn_auth.domain.errors import WeakPassword

MIN_CHARACTERS = 12
MAX_CHARACTERS = 128

_DECORATION = re.compile(r"^[\W\d_]{0,6}(.*?)[\W\d_]{0,6}$")


def normalised(password: str) -> str:
    """Return the password in the form that is hashed: the same keys on another keyboard give the same (NFKC)."""
    return unicodedata.normalize("NFKC", password)


def check_password(password: str, *, common: Collection[str], context: Collection[str] = ()) -> None:
    """Raise WeakPassword if `password` is too short, too long, common, or hardly more than a word of `context`.

    `common` holds lower-case passwords; one with up to six digits or signs around it, or said twice, is common too.
    `context` are words an attacker knows: the user's name, address, organisation.
    """
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise WeakPassword(f"The password needs {MIN_CHARACTERS} to {MAX_CHARACTERS} characters.")
    folded = password.casefold()
    if len(set(folded)) < 4 or any(core in common for core in _cores(folded)):
        raise WeakPassword("The password is one that is tried first. Choose another.")
    for word in context:
        if len(word) >= 4 and word.casefold() in folded and len(password) - len(word) < MIN_CHARACTERS // 2:
            raise WeakPassword("The password is too close to the name or address.")


def _cores(folded: str) -> set[str]:
    """Return what a password comes down to: itself, without decoration, and what it repeats."""
    match = _DECORATION.match(folded)
    bare = match[1] if match else folded
    return {once for text in (folded, bare) for once in (text, _repeated(text))}


def _repeated(text: str) -> str:
    """Return the shortest text that `text` is a repetition of."""
    length = (text + text).find(text, 1)
    return text[:length]
