"""The catcher's HTML. No script, nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from urllib.parse import urlencode

from posthorn_local.mailcatcher.content import MessageContent
from posthorn_local.mailcatcher.store import MessageSummary, Statistics, StoredMessage

STYLE_SHEET = files("posthorn_local.mailcatcher").joinpath("catcher.css").read_text()


def list_page(
    messages: list[MessageSummary], *, next_cursor: int | None, statistics: Statistics, search: Mapping[str, str]
) -> str:
    """Return the page with the newest messages, or those a search has found."""
    rows = "".join(_row(message) for message in messages)
    table = (
        "<table><thead><tr><th>Subject</th><th>To</th><th>From</th><th>Received (UTC)</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        if messages
        else "<p class=empty>No messages. Send one to this catcher's SMTP port and reload.</p>"
    )
    older = ""
    if next_cursor is not None:
        older = f'<a class=button href="/?{escape(urlencode({**search, "cursor": str(next_cursor)}))}">Older</a>'
    return _page(
        "Mail catcher",
        f"""<form method=get action="/">
  <input name=recipient placeholder="Recipient's whole address" value="{escape(search.get("recipient", ""))}">
  <input name=subject placeholder="Part of the subject" value="{escape(search.get("subject", ""))}">
  <button>Search</button>
</form>
<p class=count>{statistics.accepted:,} messages to {statistics.recipients:,} recipients</p>
{table}
<nav>{older}</nav>""",
    )


def message_page(message: StoredMessage, content: MessageContent) -> str:
    """Return the page of one message."""
    headers = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in content.headers)
    sections = []
    if content.html is not None:
        # The frame may neither run scripts nor reach this page; links open outside it.
        sandbox = "allow-popups allow-popups-to-escape-sandbox"
        sections.append(
            f'<section><h2>HTML</h2><iframe sandbox="{sandbox}" src="/messages/{message.id}/html" '
            'title="The message as its recipient sees it"></iframe></section>'
        )
    if content.text is not None:
        sections.append(f"<section><h2>Text</h2><pre>{escape(content.text)}</pre></section>")
    if content.attachments:
        items = "".join(f"<li>{escape(name)}</li>" for name in content.attachments)
        sections.append(f"<section><h2>Attachments</h2><ul>{items}</ul></section>")
    return _page(
        message.subject or "(no subject)",
        f"""<nav><a class=button href="/">All messages</a>
<a class=button href="/messages/{message.id}/source">Source</a></nav>
<dl class=envelope><dt>Envelope from</dt><dd>{escape(message.envelope_from or "<>")}</dd>
<dt>Envelope to</dt><dd>{escape(", ".join(message.envelope_to))}</dd>
<dt>Received (UTC)</dt><dd>{escape(_time(message.received_at))}</dd></dl>
{"".join(sections)}
<section><h2>Headers</h2><dl>{headers}</dl></section>""",
    )


def not_found_page() -> str:
    """Return the page for a message that does not exist."""
    return _page("Not found", '<p class=empty>There is no such message. <a href="/">All messages</a></p>')


def _row(message: MessageSummary) -> str:
    recipients = ", ".join(message.envelope_to)
    return (
        f'<tr><td><a href="/messages/{message.id}">{escape(message.subject or "(no subject)")}</a></td>'
        f"<td>{escape(recipients)}</td><td>{escape(message.envelope_from or '<>')}</td>"
        f"<td><time>{escape(_time(message.received_at))}</time></td></tr>"
    )


def _time(received_at: str) -> str:
    return received_at[:19].replace("T", " ")


def _page(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang=en>
<head><meta charset=utf-8><meta name=viewport content="width=device-width"><title>{escape(title)} · Posthorn</title>
<link rel=stylesheet href="/catcher.css"></head>
<body><header><a href="/">Posthorn mail catcher</a></header><main><h1>{escape(title)}</h1>
{body}
</main></body></html>
"""
