"""The template engine in processes of its own, so that no template can stop or fill the service's."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import orjson
import structlog

from posthorn_campaigns.adapters.templates.workshop import content_of, message_of
from posthorn_campaigns.domain.errors import TemplateInvalid
from posthorn_campaigns.domain.templates import MessageContent, RenderedMessage, TemplateSource
from posthorn_common.confined.outside import Confined

log = structlog.get_logger(__name__)

_MODULE = "posthorn_campaigns.adapters.templates.workshop"


class WorkshopBroken(Exception):
    """The process has met a defect of ours; the message holds what it has said of it."""


class ConfinedTemplateEngine:
    """See the port TemplateEngine. Calls block, so make them in a thread; `processes` of them work at a time.

    A template that takes more memory or processor time than any useful one is refused as `template_too_expensive`.
    """

    def __init__(self, *, processes: int) -> None:
        self._workshops: queue.LifoQueue[_Workshop] = queue.LifoQueue()
        self._all = [_Workshop() for _ in range(processes)]
        for workshop in self._all:
            self._workshops.put(workshop)

    def check(self, source: TemplateSource) -> tuple[str, ...]:
        """Return the merge fields of a template that parses, renders and can be sent. Raises TemplateInvalid."""
        return tuple(self._ask({"do": "check", "source": asdict(source)}))

    def prepare(self, source: TemplateSource, *, track_opens: bool, track_clicks: bool) -> MessageContent:
        """Make a template ready for sending. Raises TemplateInvalid."""
        options = {"track_opens": track_opens, "track_clicks": track_clicks}
        return content_of(self._ask({"do": "prepare", "source": asdict(source), **options}))

    def render(
        self, content: MessageContent, contact: Mapping[str, Any], *, unsubscribe_url: str, campaign_name: str
    ) -> RenderedMessage:
        """Render for a contact. Raises TemplateInvalid."""
        request = {
            "do": "render",
            "content": asdict(content),
            "contact": dict(contact),
            "unsubscribe_url": unsubscribe_url,
            "campaign_name": campaign_name,
        }
        return message_of(self._ask(request))

    def close(self) -> None:
        """End the processes."""
        for workshop in self._all:
            workshop.end()

    def _ask(self, request: dict[str, Any]) -> Any:
        try:
            line = orjson.dumps(request)
        except (TypeError, UnicodeError) as error:  # orjson's own error is a TypeError: lone surrogates
            raise TemplateInvalid("template_invalid", "template", "is not valid Unicode", None) from error
        workshop = self._workshops.get()
        try:
            answer = workshop.ask(line)
        finally:
            self._workshops.put(workshop)
        if answer is None:
            raise TemplateInvalid("template_too_expensive", "template", "takes too much time or memory to render", None)
        if "broken" in answer:
            raise WorkshopBroken(answer["broken"])
        if "invalid" in answer:
            raise TemplateInvalid(**answer["invalid"])
        return answer["done"]


class _Workshop:
    """One process, started when it is first needed and again after it was ended."""

    def __init__(self) -> None:
        self._process: Confined | None = None

    def ask(self, line: bytes) -> dict[str, Any] | None:
        """Return the answer, None if the process has ended over it. Raises DidNotStart, OSError."""
        if self._process is None or not self._process.running:
            self.end()
            self._process = Confined(_MODULE)
        process = self._process
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(line + b"\n")
            process.stdin.flush()
        answer = process.stdout.readline()
        if answer.endswith(b"\n"):
            document: dict[str, Any] = orjson.loads(answer)
            return document
        log.warning("template_process_ended", exit_code=self.end())
        return None

    def end(self) -> int | None:
        """End the process, if there is one; return its exit code."""
        process, self._process = self._process, None
        return process.end() if process is not None else None
