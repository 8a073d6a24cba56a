"""What is sent: a personal newsletter of about 8 KB with eight tracked links, and the people it goes to."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from uuid import UUID

import orjson

from posthorn_contracts.campaigns.internal_v1 import CampaignContent
from posthorn_contracts.campaigns.v1 import TrackedLink
from posthorn_mailer.adapters.composing.manuscripts import Editor
from posthorn_mailer.adapters.composing.press import Press
from posthorn_mailer.app.ports_content import Recipient

LINKS = 8
PAGE = 5000
_FIRST = ("Ada", "Alan", "Barbara", "Dorothy", "Émilie", "Grace", "Hedy", "Jürgen", "Katherine", "Søren")
_CITIES = ("Lisbon", "Nairobi", "Kraków", "Osaka", "Quito", "Tromsø", "Rome")
_PLANS = ("free", "team", "business")
DOMAIN = "lighthouse.example"
"""Where the mail comes from."""

_DOMAINS = ("example.com", "example.com", "example.org", "example.net")
_SENTENCES = (
    "The harbour opens an hour earlier from Monday, and the ferry waits for the mail.",
    "Our printers have learned two new inks: one is nearly black, the other nearly blue.",
    "Readers asked for larger type, so this letter is set two points larger than the last.",
    "Whoever brings a friend to the reading room finds a second chair, and tea for both.",
)

SUBJECT = "{{ contact.first_name }}, the autumn letter is here: news from {{ contact.attributes.city }}"

_HTML_HEAD = """\
<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>The autumn letter</title></head>
<body style="font-family: Georgia, serif; background: #f4efe6; color: #2b2a28; margin: 0">
<div style="max-width: 34rem; margin: 0 auto; padding: 2rem; background: #ffffff">
<h1 style="font-weight: normal; color: #8c2f1b">Dear {{ contact.first_name }} {{ contact.last_name }},</h1>
<p>this letter found its way to {{ contact.attributes.city }}.</p>
{% if contact.attributes.plan == "business" %}<p>Your business plan comes with a horn of polished brass.</p>
{% else %}<p>Your {{ contact.attributes.plan }} plan comes with our best wishes, {{ contact.first_name }}.</p>
{% endif %}
"""
_HTML_STORY = """\
<h2 style="font-weight: normal; color: #8c2f1b; margin-top: 2rem">Story number {number}</h2>
<p style="line-height: 1.5">{sentences}</p>
<p><a style="display: inline-block; background: #8c2f1b; color: #ffffff; padding: 0.6rem 1.2rem" \
href="{{{{ posthorn_link({number})|safe }}}}">Read on</a></p>
"""
_HTML_FOOT = """\
<p style="color: #77736c; font-size: 0.85rem">You get this letter at {{ contact.email }}.
<a href="{{ posthorn_unsubscribe_url }}">Unsubscribe</a></p>
<img src="{{ posthorn_open_pixel|safe }}" width="1" height="1" alt="">
</div>
</body>
</html>
"""
_TEXT_HEAD = """\
Dear {{ contact.first_name }} {{ contact.last_name }},

this letter found its way to {{ contact.attributes.city }}.

"""
_TEXT_STORY = "Story number {number}\n{sentence}\nRead on: {{{{ posthorn_link({number})|safe }}}}\n\n"
_TEXT_FOOT = "You get this letter at {{ contact.email }}. Unsubscribe: {{ posthorn_unsubscribe_url }}\n"


def content(campaign_id: UUID, organisation_id: UUID) -> CampaignContent:
    """Return the newsletter as the campaigns service hands it to the mailer."""
    html = [
        _HTML_STORY.format(number=number, sentences=" ".join(_SENTENCES[(number + i) % 4] for i in range(2)))
        for number in range(LINKS)
    ]
    text = [_TEXT_STORY.format(number=number, sentence=_SENTENCES[number % 4]) for number in range(LINKS)]
    return CampaignContent(
        campaign_id=campaign_id,
        organisation_id=organisation_id,
        template_version_id=campaign_id,
        name="Autumn letter",
        subject=SUBJECT,
        html="".join((_HTML_HEAD, *html, _HTML_FOOT)),
        text="".join((_TEXT_HEAD, *text, _TEXT_FOOT)),
        from_name="Lighthouse Books",
        from_email=f"post@{DOMAIN}",
        reply_to="answers@lighthouse.example",
        list_id="readers.lighthouse.example",
        track_opens=True,
        track_clicks=True,
        links=tuple(TrackedLink(number=i, url=f"https://lighthouse.example/autumn/{i}") for i in range(LINKS)),
    )


def contact_fields(number: int) -> tuple[UUID, dict[str, object]]:
    """Return id and merge fields of one contact."""
    fields: dict[str, object] = {
        "email": f"reader.{number}@{_DOMAINS[number % len(_DOMAINS)]}",
        "first_name": _FIRST[number % len(_FIRST)],
        "last_name": f"Reader {number}",
        "attributes": {"city": _CITIES[number % len(_CITIES)], "plan": _PLANS[number % len(_PLANS)]},
    }
    return UUID(int=(0x0199 << 112) | (7 << 76) | (2 << 62) | number), fields


@lru_cache(maxsize=64)
def audience_page(first: int, total: int, limit: int) -> bytes:
    """Return the page of an audience of `total` that begins with contact `first`, as JSON."""
    following = min(first + limit, total)
    members = []
    for number in range(first, following):
        contact_id, fields = contact_fields(number)
        members.append({"contact_id": str(contact_id), "email": fields["email"], "fields": fields})
    return orjson.dumps({"members": members, "next_cursor": str(following) if following < total else None})


def sample_message(public_base: str) -> bytes:
    """Return the newsletter to one contact as the mailer makes it, with CRLF line ends."""
    contact_id, fields = contact_fields(7)
    made = content(contact_id, contact_id)
    editor = Editor(public_base=public_base, link_secret=b"s" * 32)
    recipient = Recipient(1, contact_id, str(fields["email"]), orjson.dumps(fields).decode())
    campaign_id, manuscript = editor.manuscript(made.model_dump_json())
    return Press(manuscript).message(editor.reader(campaign_id, recipient, datetime.now(UTC)))
