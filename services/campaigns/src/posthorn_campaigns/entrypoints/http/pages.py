"""Pages that recipients see: without scripts, external files or cookies, for every screen and screen reader."""

from __future__ import annotations

import base64
import hashlib
from html import escape

from fastapi.responses import HTMLResponse

from posthorn_campaigns.app.choosing_preferences import Preferences
from posthorn_campaigns.app.ports_opt_in import OfferedList
from posthorn_campaigns.domain.rules import SubscriptionStatus

_STYLE = (
    "body{margin:0;padding:0 1rem;background:#f4efe6;color:#2b2a28;font:1.0625rem/1.5 system-ui,sans-serif}"
    "main{max-width:30rem;margin:12vh auto;padding:2rem 1.5rem;background:#fff;border-radius:.5rem}"
    "h1{margin:0 0 1rem;font-size:1.5rem;line-height:1.25}"
    "button{width:100%;padding:.875rem 1rem;border:0;border-radius:.375rem;background:#8c2f1b;color:#fff;font:inherit;"
    "cursor:pointer}button.quiet{background:#e8e1d4;color:#2b2a28}"
    "form+form{margin-top:1rem}fieldset{margin:0 0 1rem;padding:0;border:0}legend{padding:0;font-weight:600}"
    ".choice{display:flex;gap:.75rem;align-items:flex-start;padding:.625rem 0}.choice input{flex:none;width:1.25rem;"
    "height:1.25rem;margin:.125rem 0 0}small{display:block;color:#6b665e}a{color:#8c2f1b}"
    "label{display:block;margin:0 0 .25rem}"
    "input:not([type=hidden],[type=checkbox]),select{box-sizing:border-box;width:100%;margin:0 0 1rem;padding:.75rem;"
    "border:1px solid #6b665e;border-radius:.375rem;background:#fff;color:inherit;font:inherit}"
    "button:focus-visible,input:focus-visible,select:focus-visible,a:focus-visible{outline:3px solid #1b5e8c;"
    "outline-offset:2px}"
)
_LANGUAGES = {
    "cs": "Čeština", "da": "Dansk", "de": "Deutsch", "en": "English", "es": "Español", "fr": "Français",
    "it": "Italiano", "ja": "日本語", "nl": "Nederlands", "pl": "Polski", "pt": "Português", "sv": "Svenska",
    "tr": "Türkçe", "uk": "Українська", "zh": "中文",
}  # fmt: skip
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex, nofollow",
    "Cache-Control": "no-store",
}


def ask_to_unsubscribe(token: str) -> HTMLResponse:
    """Return the page with the button. Looking at it changes nothing: mail scanners do."""
    return _page(
        "Unsubscribe",
        "<p>Press the button, and we will not send you any more mail.</p>"
        + _form("unsubscribe", "Unsubscribe")
        + f'<p><a href="../preferences/{escape(token)}">Choose what you get instead</a></p>',
    )


def preferences(found: Preferences, *, is_saved: bool = False) -> HTMLResponse:
    """Return the page where a recipient chooses lists and language."""
    told = '<p role="status"><strong>Saved.</strong></p>' if is_saved else ""
    if not found.wants_mail:
        told += "<p>You get no mail from us. To get some again, choose below and save.</p>"
    choices = "".join(_choice(offered, is_on=found.wants_mail) for offered in found.lists)
    languages = "".join(
        f'<option value="{escape(tag)}"{" selected" if tag == (found.locale or "") else ""}>{escape(name)}</option>'
        for tag, name in _languages(found.locale).items()
    )
    return _page(
        "What you get from us",
        f'{told}<form method="post"><fieldset><legend>Lists</legend>{choices or "<p>There is nothing to choose.</p>"}'
        f'</fieldset><label for="locale">Language</label><select id="locale" name="locale">{languages}</select>'
        '<button name="action" value="save">Save</button></form>'
        + _form("unsubscribe", "Send me nothing", css_class="quiet"),
    )


def _choice(offered: OfferedList, *, is_on: bool) -> str:
    checked = " checked" if is_on and offered.status is SubscriptionStatus.SUBSCRIBED else ""
    about = f"<small>{escape(offered.description)}</small>" if offered.description else ""
    return (
        f'<label class="choice"><input type="checkbox" name="list" value="{offered.id}"{checked}>'
        f"<span>{escape(offered.name)}{about}</span></label>"
    )


def _languages(present: str | None) -> dict[str, str]:
    known = {"": "As it comes", **_LANGUAGES}
    return known if present is None or present in known else {**known, present: present}


def unsubscribed() -> HTMLResponse:
    """Return the page after it."""
    return _page(
        "You are unsubscribed",
        "<p>We will not send you any more mail. A message that is on its way already may still arrive.</p>"
        + _form("resubscribe", "That was a mistake: subscribe me again", css_class="quiet"),
    )


def resubscribed() -> HTMLResponse:
    """Return the page after second thoughts."""
    return _page("You are subscribed again", "<p>Everything is as it was before.</p>")


def preview() -> HTMLResponse:
    """Return the page behind the link in previews and test sends."""
    return _page("This was a test", "<p>In the real message this link lets its recipient unsubscribe.</p>")


def ask_to_subscribe(list_name: str, *, problem: str = "", status: int = 200) -> HTMLResponse:
    """Return the public form of a list."""
    told = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
    return _page(
        f"Subscribe to {list_name}",
        told + '<form method="post"><label for="email">Your e-mail address</label>'
        '<input id="email" name="email" type="email" autocomplete="email" maxlength="254" required>'
        '<label for="first_name">Your first name, if you like</label>'
        '<input id="first_name" name="first_name" autocomplete="given-name" maxlength="200">'
        "<button>Subscribe</button></form>",
        status=status,
    )


def asked_to_confirm(list_name: str) -> HTMLResponse:
    """Return the page after the form, the same for everybody."""
    return _page(
        "Thank you",
        f"<p>If anything is left to do for your subscription to {escape(list_name)}, you will find a message in your "
        "mailbox. Please press the button behind its link.</p>",
    )


def ask_to_confirm(list_name: str) -> HTMLResponse:
    """Return the page behind the link in a confirmation mail. Looking at it changes nothing: mail scanners do."""
    return _page(
        "Confirm your subscription",
        f"<p>Press the button to get mail of {escape(list_name)}.</p>" + _form("confirm", "Confirm"),
    )


def confirmed(list_name: str) -> HTMLResponse:
    """Return the page after it."""
    return _page("You are subscribed", f"<p>Welcome to {escape(list_name)}.</p>")


def link_is_over() -> HTMLResponse:
    """Return the page for a confirmation that comes too late."""
    return _page("This link is too old", "<p>Please subscribe again to get a new one.</p>", status=410)


def no_such_form() -> HTMLResponse:
    """Return the page for a list that has no public form."""
    return _page("There is nothing here", "<p>There is no form at this address.</p>", status=404)


def too_often(reason: str) -> HTMLResponse:
    """Return the page for too many forms."""
    return _page("That was too often", f"<p>{escape(reason)}</p>", status=429)


def invalid_link(status: int) -> HTMLResponse:
    """Return the page for a link that is not ours."""
    return _page(
        "This link does not work",
        "<p>It is incomplete or was changed. Please open the link in the message again.</p>",
        status=status,
    )


def _form(action: str, label: str, *, css_class: str = "") -> str:
    # Without an action the form posts to the page's own address, whatever the gateway calls it.
    return (
        f'<form method="post"><input type="hidden" name="action" value="{escape(action)}">'
        f'<button class="{css_class}">{escape(label)}</button></form>'
    )


def _page(title: str, content: str, *, status: int = 200) -> HTMLResponse:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><main><h1>{escape(title)}</h1>{content}</main></body></html>",
        status_code=status,
        headers=_HEADERS,
    )
