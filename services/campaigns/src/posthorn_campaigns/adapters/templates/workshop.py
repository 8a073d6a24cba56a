"""A process that works on users' templates and nothing else.

One JSON request a line on standard input, one answer a line on standard output; ends with its input. It has no secrets
in its environment, a bound on its memory, and for each request a bound on its processor time, at which the kernel
ends it: fuel bounds the steps of a template, but one step that prints or compares lists within lists may never end.
"""

from __future__ import annotations

import sys
import traceback
from dataclasses import asdict
from typing import Any

import orjson

from posthorn_campaigns.adapters.templates.engine import MiniJinjaTemplateEngine
from posthorn_campaigns.domain.errors import TemplateInvalid
from posthorn_campaigns.domain.templates import Link, MessageContent, RenderedMessage, TemplateSource
from posthorn_common.confined.inside import allow_seconds, confine

MEMORY_BYTES = 2**30
CPU_SECONDS = 5


def main() -> None:
    """Answer requests until the input ends."""
    engine = MiniJinjaTemplateEngine()
    confine(MEMORY_BYTES)
    for line in sys.stdin.buffer:
        allow_seconds(CPU_SECONDS)
        sys.stdout.buffer.write(orjson.dumps(_answer(engine, orjson.loads(line))) + b"\n")
        sys.stdout.buffer.flush()


def _answer(engine: MiniJinjaTemplateEngine, request: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"done": _do(engine, request.pop("do"), request)}
    except TemplateInvalid as error:
        return {"invalid": {"code": error.code, **error.details}}
    except MemoryError:
        raise  # ends the process, which says enough
    except Exception:  # noqa: BLE001  a defect of ours: the service raises it
        return {"broken": traceback.format_exc(limit=-10)}


def _do(engine: MiniJinjaTemplateEngine, name: str, request: dict[str, Any]) -> Any:
    match name:
        case "check":
            return engine.check(TemplateSource(**request["source"]))
        case "prepare":
            return asdict(engine.prepare(TemplateSource(**request.pop("source")), **request))
        case _:
            return asdict(engine.render(content_of(request.pop("content")), request.pop("contact"), **request))


def content_of(document: dict[str, Any]) -> MessageContent:
    """Return the content that was sent as JSON."""
    links = tuple(Link(**link) for link in document["links"])
    return MessageContent(**{**document, "links": links, "fields": tuple(document["fields"])})


def message_of(document: dict[str, Any]) -> RenderedMessage:
    """Return the message that was sent as JSON."""
    return RenderedMessage(**{**document, "warnings": tuple(document["warnings"])})


if __name__ == "__main__":
    main()
