"""Makes the messages of one campaign: its templates, and what all messages share, prepared once.

Runs where templates can do no harm (`workshop`), knows no secrets, and imports little.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, NamedTuple

import minijinja
import orjson

from posthorn_common.templating import MAX_SOURCE_BYTES, Template, TemplateProblem, visible
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton
from posthorn_mailer.adapters.quoted_printable import SharedText

MAX_MESSAGE_BYTES = 5 * 1024 * 1024

# As campaigns writes tracked links.
_LINK = re.compile(r"\{\{ ?posthorn_link\((0|[1-9][0-9]{0,8})\)(?:\|safe)? ?\}\}")
_RAW = re.compile(r"\{%[-+]?\s*raw")
_TAG = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\{#.*?#\}", re.DOTALL)
_SHARED = re.compile(r"\{\{ ?(posthorn_unsubscribe_url|unsubscribe_url|posthorn_open_pixel)(?:\|safe)? ?\}\}")


class Manuscript(NamedTuple):
    """What all messages of a campaign are made from. Addresses are in ASCII where they can
    be, the id is in hexadecimal.

    `mark` stands in texts where the recipient's token will be: no template or contact can know it.
    """

    campaign_id: str
    campaign_name: str
    subject: str
    text: str
    html: str
    from_name: str
    from_email: str
    reply_to: str | None
    list_id: str
    feedback_id: str
    public_base: str
    mark: str


class Reader(NamedTuple):
    """Whom a message is for.

    The address is in ASCII where it can be, the id is in hexadecimal, `fields` is JSON, `dated` a Unix time.
    """

    to: str
    contact_id: str
    token: str
    dated: int
    fields: str


class Unprintable(Exception):
    """No message can be made; the message says why, for people."""


class Press:
    """Prints messages.

    Templates see a mark where links have the recipient's token, which is put in when all else is done. So links are the
    same for everybody, and what is the same for everybody is encoded once.
    """

    def __init__(self, manuscript: Manuscript) -> None:
        """Raises Unprintable."""
        self._mark = manuscript.mark
        self._unsubscribe_base = f"{manuscript.public_base}/u/"
        self._click_base = f"{manuscript.public_base}/t/c/{self._mark}/"
        text, html = self._with_links(manuscript.text), self._with_links(manuscript.html)
        functions = {"posthorn_link": self._link}
        try:
            self._subject = Template(manuscript.subject, html=False, functions=functions)
            self._text = Template(text, html=False, functions=functions)
            self._html = Template(html, html=True, functions=functions)
        except TemplateProblem as problem:
            raise Unprintable(_words(problem)) from problem
        # Addresses of our own making: escaping their slashes would only make them longer.
        unsubscribe_url = minijinja.safe(self._unsubscribe_base + self._mark)
        self._shared_context = visible(
            {
                "campaign": {"name": manuscript.campaign_name},
                "posthorn_unsubscribe_url": unsubscribe_url,
                "unsubscribe_url": unsubscribe_url,
                "posthorn_open_pixel": minijinja.safe(f"{manuscript.public_base}/t/o/{self._mark}"),
            }
        )
        self._message_id_end = f".{manuscript.campaign_id}@{manuscript.from_email.rpartition('@')[2]}"
        self._skeleton = Skeleton(
            Sender(
                name=manuscript.from_name,
                email=manuscript.from_email,
                reply_to=manuscript.reply_to,
                list_id=manuscript.list_id,
                feedback_id=manuscript.feedback_id,
                boundary=f"=_posthorn_{manuscript.campaign_id}",
            ),
            encode_text=SharedText(self._literals(text), mark=self._mark).encode,
            encode_html=SharedText(self._literals(html), mark=self._mark).encode,
        )

    def message(self, reader: Reader) -> bytes:
        """Return the message for a reader, ready for the wire. Raises Unprintable."""
        context = visible({**self._shared_context, "contact": orjson.loads(reader.fields)})
        token = reader.token
        try:
            content = self._skeleton.message(
                Personal(
                    to=reader.to,
                    subject=self._subject.render(context).replace(self._mark, token),
                    # The two ids lead back to the delivery from any log or bounce.
                    message_id=reader.contact_id + self._message_id_end,
                    dated=datetime.fromtimestamp(reader.dated, UTC),
                    unsubscribe_url=self._unsubscribe_base + token,
                    token=token,
                    text=self._text.render(context),
                    html=self._html.render(context),
                )
            )
        except TemplateProblem as problem:
            raise Unprintable(_words(problem)) from problem
        if len(content) > MAX_MESSAGE_BYTES:
            raise Unprintable("The template renders to a message of more than 5 MiB.")
        return content

    def _with_links(self, source: str) -> str:
        """Write out the links of a template, so that rendering need not call us for each of them."""
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        if _RAW.search(source):
            return source
        written_out = _LINK.sub(lambda found: self._click_base + found[1], source)
        return written_out if len(written_out.encode()) <= MAX_SOURCE_BYTES else source

    def _literals(self, source: str) -> list[str]:
        """Return what messages will have in common, as a guess: what is not found in them does no harm."""

        def shared(found: re.Match[str]) -> str:
            return str(self._shared_context[found[1]])

        return [text.strip() for text in _TAG.split(_SHARED.sub(shared, source))]

    def _link(self, number: int) -> Any:
        return minijinja.safe(f"{self._click_base}{int(number)}")


def _words(problem: TemplateProblem) -> str:
    where = "" if problem.line is None else f" (line {problem.line})"
    return f"The template cannot be rendered: {problem.message}{where}"
