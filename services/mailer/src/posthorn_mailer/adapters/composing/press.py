"""Makes the messages of one campaign: its templates, and what all messages share, prepared once.

Runs where templates can do no harm (`workshop`), knows no secrets, and imports little.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import minijinja
import orjson

from posthorn_common.templating import MAX_SOURCE_BYTES, Template, TemplateProblem, visible
from posthorn_mailer.adapters.composing.bodies import Body
from posthorn_mailer.adapters.mime import Personal, Sender, Skeleton

MAX_MESSAGE_BYTES = 5 * 1024 * 1024

# As campaigns writes tracked links.
_LINK = re.compile(r"\{\{ ?posthorn_link\((0|[1-9][0-9]{0,8})\)(?:\|safe)? ?\}\}")
_RAW = re.compile(r"\{%[-+]?\s*raw")
_SHARED = re.compile(r"\{\{ ?(posthorn_unsubscribe_url|unsubscribe_url|posthorn_open_pixel)(?:\|safe)? ?\}\}")
_SHARED_NAME = re.compile(r"posthorn_unsubscribe_url|unsubscribe_url|posthorn_open_pixel")


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
    unsubscribe_email: str | None
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
        functions = {"posthorn_link": self._link}
        text, html = (self._with_urls(source) for source in (manuscript.text, manuscript.html))
        try:
            self._subject = Template(manuscript.subject, html=False, functions=functions)
            self._text = Body(text, html=False, functions=functions, mark=self._mark)
            self._html = Body(html, html=True, functions=functions, mark=self._mark)
        except TemplateProblem as problem:
            raise Unprintable(_words(problem)) from problem
        self._message_id_end = f".{manuscript.campaign_id}@{manuscript.from_email.rpartition('@')[2]}"
        self._skeleton = Skeleton(
            Sender(
                name=manuscript.from_name,
                email=manuscript.from_email,
                reply_to=manuscript.reply_to,
                list_id=manuscript.list_id,
                feedback_id=manuscript.feedback_id,
                boundary=f"=_posthorn_{manuscript.campaign_id}",
                unsubscribe_base=self._unsubscribe_base,
                unsubscribe_email=manuscript.unsubscribe_email,
            )
        )

    def message(self, reader: Reader) -> bytes:
        """Return the message for a reader, ready for the wire. Raises Unprintable."""
        context = visible({**self._shared_context, "contact": orjson.loads(reader.fields)})
        token = reader.token
        meant = token.encode()
        try:
            content = self._skeleton.message(
                Personal(
                    to=reader.to,
                    subject=self._subject.render(context).replace(self._mark, token),
                    # The two ids lead back to the delivery from any log or bounce.
                    message_id=reader.contact_id + self._message_id_end,
                    dated=reader.dated,
                    token=token,
                    text=self._text.encoded(context, meant),
                    html=self._html.encoded(context, meant),
                )
            )
        except TemplateProblem as problem:
            raise Unprintable(_words(problem)) from problem
        if len(content) > MAX_MESSAGE_BYTES:
            raise Unprintable("The template renders to a message of more than 5 MiB.")
        return content

    def _with_urls(self, source: str) -> str:
        """Write out the URLs of a template that are the same for everybody, so that rendering has less to do."""
        source = source.replace("\r\n", "\n").replace("\r", "\n")
        if _RAW.search(source):
            return source
        written_out = _LINK.sub(lambda found: self._click_base + found[1], source)
        shared = _SHARED.sub(lambda found: str(self._shared_context[found[1]]), written_out)
        if not _SHARED_NAME.search(shared):  # else the template may give another meaning to a name
            written_out = shared
        return written_out if len(written_out.encode()) <= MAX_SOURCE_BYTES else source

    def _link(self, number: int) -> Any:
        return minijinja.safe(f"{self._click_base}{int(number)}")


def _words(problem: TemplateProblem) -> str:
    where = "" if problem.line is None else f" (line {problem.line})"
    return f"The template cannot be rendered: {problem.message}{where}"
