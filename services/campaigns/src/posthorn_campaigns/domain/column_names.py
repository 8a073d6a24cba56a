"""What the columns of a file are called, and what they might be."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

EMAIL, FIRST_NAME, LAST_NAME = "email", "first_name", "last_name"
LOCALE, TIME_ZONE = "locale", "time_zone"
MAX_COLUMN_CHARACTERS = 64

_ALSO_CALLED = {
    "e_mail": EMAIL,
    "email_address": EMAIL,
    "e_mail_address": EMAIL,
    "firstname": FIRST_NAME,
    "lastname": LAST_NAME,
    "timezone": TIME_ZONE,
}
# What other systems and languages write above these columns; by slug, see _slug. Suggested only, never assumed.
_OFTEN_CALLED = {
    EMAIL: "mail mailaddress mail_address emailaddress e_mail_adresse email_adresse mailadresse adresse_e_mail "
    "adresse_mail courriel correo correo_electronico indirizzo_email posta_elettronica e_mailadres subscriber_email",
    FIRST_NAME: "given_name givenname forename fname vorname prenom nombre nome voornaam imie",
    LAST_NAME: "family_name familyname surname sname lname nachname familienname nom nom_de_famille apellido "
    "apellidos cognome achternaam nazwisko",
}
_SYNONYMS = {name: target for target, names in _OFTEN_CALLED.items() for name in names.split()}
_COLUMN_NAME = re.compile(rf"[A-Za-z0-9_]{{1,{MAX_COLUMN_CHARACTERS}}}")


def is_column_name(name: str) -> bool:
    """Whether contacts can have an attribute of this name."""
    return _COLUMN_NAME.fullmatch(name) is not None


def column_name(written: str) -> str:
    """Return what a column is called without a mapping: lower case, underscores for spaces and hyphens."""
    name = re.sub(r"[\s-]+", "_", written.strip().lower())
    return _ALSO_CALLED.get(name, name)


def suggested_columns(header: Iterable[str]) -> tuple[str | None, ...]:
    """Return what each column might become, nothing twice; None for one that says nothing of what it is."""
    taken: set[str] = set()
    suggestions: list[str | None] = []
    for written in header:
        slug = _slug(written)
        name = _ALSO_CALLED.get(slug) or _SYNONYMS.get(slug) or slug
        if name in taken:
            name = slug
        if not name or name in taken:
            suggestions.append(None)
        else:
            taken.add(name)
            suggestions.append(name)
    return tuple(suggestions)


def _slug(written: str) -> str:
    """Return the nearest name of lower case ASCII letters, digits and underscores; empty if there is none."""
    plain = unicodedata.normalize("NFKD", written.strip().lower().replace("ß", "ss"))
    ascii_only = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"[^a-z0-9]+", "_", ascii_only)[:MAX_COLUMN_CHARACTERS].strip("_")
