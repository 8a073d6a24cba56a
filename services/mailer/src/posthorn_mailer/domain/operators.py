"""Who runs the mail of a recipient's domain: operators limit all their domains together, so we do as well."""

from __future__ import annotations

# Domains that people have mailboxes in. What is not here is told from its MX records.
_DOMAINS: dict[str, tuple[str, ...]] = {
    "google": ("gmail.com", "googlemail.com", "google.com"),
    "microsoft": (
        "outlook.com", "hotmail.com", "live.com", "msn.com", "passport.com", "windowslive.com", "hotmail.co.uk",
        "hotmail.fr", "hotmail.de", "hotmail.it", "hotmail.es", "live.co.uk", "live.fr", "live.nl", "live.de",
        "live.it", "outlook.fr", "outlook.de", "outlook.es", "outlook.it", "outlook.jp", "outlook.com.br",
    ),
    "yahoo": (
        "yahoo.com", "ymail.com", "rocketmail.com", "aol.com", "aim.com", "netscape.net", "verizon.net", "yahoo.co.uk",
        "yahoo.fr", "yahoo.de", "yahoo.it", "yahoo.es", "yahoo.ca", "yahoo.com.br", "yahoo.co.in", "yahoo.com.au",
        "aol.co.uk", "aol.de", "aol.fr",
    ),
    "apple": ("icloud.com", "me.com", "mac.com"),
    "gmx": ("gmx.de", "gmx.net", "gmx.com", "gmx.at", "gmx.ch", "web.de", "mail.com"),
    "t-online": ("t-online.de", "magenta.de"),
    "proton": ("proton.me", "protonmail.com", "protonmail.ch", "pm.me"),
    "fastmail": ("fastmail.com", "fastmail.fm"),
    "zoho": ("zoho.com", "zohomail.com", "zoho.eu"),
    "yandex": ("yandex.ru", "yandex.com", "ya.ru"),
    "vk": ("mail.ru", "bk.ru", "inbox.ru", "list.ru", "internet.ru"),
    "tencent": ("qq.com", "foxmail.com"),
    "netease": ("163.com", "126.com", "yeah.net"),
    "orange": ("orange.fr", "wanadoo.fr"),
    "sfr": ("sfr.fr", "neuf.fr"),
    "laposte": ("laposte.net",),
    "free": ("free.fr", "aliceadsl.fr"),
    "libero": ("libero.it", "virgilio.it", "iol.it"),
    "seznam": ("seznam.cz", "email.cz", "post.cz"),
    "comcast": ("comcast.net", "xfinity.com"),
    "charter": ("charter.net", "spectrum.net", "rr.com"),
}  # fmt: skip

# Ends of the names of mail hosts.
_HOSTS: dict[str, str] = {
    "google.com": "google",
    "googlemail.com": "google",
    "psmtp.com": "google",
    "outlook.com": "microsoft",
    "office365.us": "microsoft",
    "mx.microsoft": "microsoft",
    "hotmail.com": "microsoft",
    "yahoodns.net": "yahoo",
    "icloud.com": "apple",
    "gmx.net": "gmx",
    "web.de": "gmx",
    "kundenserver.de": "ionos",
    "ionos.com": "ionos",
    "1and1.com": "ionos",
    "protonmail.ch": "proton",
    "messagingengine.com": "fastmail",
    "zoho.com": "zoho",
    "zoho.eu": "zoho",
    "yandex.net": "yandex",
    "yandex.ru": "yandex",
    "mail.ru": "vk",
    "qq.com": "tencent",
    "ovh.net": "ovh",
    "mimecast.com": "mimecast",
    "pphosted.com": "proofpoint",
    "ppe-hosted.com": "proofpoint",
    "barracudanetworks.com": "barracuda",
    "secureserver.net": "godaddy",
    "emailsrvr.com": "rackspace",
}

_BY_DOMAIN = {domain: operator for operator, domains in _DOMAINS.items() for domain in domains}

OPERATORS = frozenset(_DOMAINS) | frozenset(_HOSTS.values())
"""The names of all operators that are known; none looks like a domain."""


def operator_of_domain(domain: str) -> str | None:
    """Return the operator of a well-known domain (lower case)."""
    return _BY_DOMAIN.get(domain)


def operator_of_host(host: str) -> str | None:
    """Return the operator of a mail host, as MX records name it."""
    labels = host.rstrip(".").lower().split(".")
    ends = (".".join(labels[start:]) for start in range(len(labels) - 1))
    return next((_HOSTS[end] for end in ends if end in _HOSTS), None)
