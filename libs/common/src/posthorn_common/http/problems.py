"""Errors as RFC 9457 problem documents with a stable `code`.

A service raises its own domain errors, each with a `code`, and tells `install_problem_handlers` once which status
each has. Nothing else in a service knows HTTP statuses of errors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from structlog.contextvars import get_contextvars

from posthorn_common.errors import TransientError

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"
_MOST_FIELD_PROBLEMS = 100
_HTTP_ERRORS = {
    404: ("not_found", "There is nothing at this address."),
    405: (
        "method_not_allowed",
        "There is no such method at this address. The header Allow names those that there are.",
    ),
    413: ("body_too_large", "The body is too large."),
}


class FieldProblem(BaseModel):
    """What is wrong with one part of the request."""

    location: str = Field(examples=["body.name"])
    message: str
    code: str
    pointer: str | None = Field(
        default=None, description="RFC 6901: the place within a body that has a language of its own, such as a rule."
    )


class Problem(BaseModel):
    """An RFC 9457 problem document."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(default="about:blank")
    title: str
    status: int
    code: str = Field(description="Stable, machine-readable.", examples=["contact_not_found"])
    detail: str
    request_id: str | None = None
    errors: list[FieldProblem] | None = None


class ProblemError(Exception):
    """An error of the HTTP edge itself: a missing token, a malformed cursor."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        headers: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


def problem_response(
    status: int,
    code: str,
    detail: str,
    *,
    errors: list[FieldProblem] | None = None,
    headers: Mapping[str, str] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> JSONResponse:
    """Return the answer for a problem; the request id comes from the context."""
    problem = Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        request_id=get_contextvars().get("request_id"),
        errors=errors,
        **dict(extra or {}),
    )
    return JSONResponse(
        problem.model_dump(exclude_none=True),
        status_code=status,
        media_type=PROBLEM_JSON,
        headers=dict(headers or {}),
    )


def temporarily_unavailable() -> JSONResponse:
    """Return the answer while the database or another service is away."""
    return problem_response(
        503, "temporarily_unavailable", "A part of the system is away. Try again.", headers={"Retry-After": "5"}
    )


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI `responses` of problems with these statuses."""
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in statuses
    }


def install_problem_handlers(app: FastAPI, statuses: Mapping[type[Exception], int]) -> None:
    """Answer all errors with problem documents; `statuses` maps domain errors (with `code`) to HTTP statuses.

    An error may carry `details`, a mapping whose items become members of the document, and `problems`, which become its
    `errors`: mappings with location, message, code and perhaps pointer. The first 100 of them are told.
    """

    async def on_domain_error(_request: Request, error: Exception) -> JSONResponse:
        status = next(statuses[kind] for kind in type(error).__mro__ if kind in statuses)
        problems = [FieldProblem(**item) for item in list(getattr(error, "problems", ()))[:_MOST_FIELD_PROBLEMS]]
        return problem_response(
            status,
            str(getattr(error, "code", "error")),
            str(error),
            errors=problems or None,
            extra=getattr(error, "details", None),
        )

    for kind in statuses:
        app.add_exception_handler(kind, on_domain_error)
    app.add_exception_handler(ProblemError, _on_problem_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(TransientError, _on_transient_error)


async def _on_problem_error(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, ProblemError):
        raise error
    return problem_response(error.status, error.code, error.detail, headers=error.headers, extra=error.extra)


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    found = error.errors()
    if _is_body_of_another_type(request, found):
        return problem_response(
            415, "unsupported_media_type", "Send the body as JSON, with the header Content-Type: application/json."
        )
    errors = [_field_problem(item) for item in found[:_MOST_FIELD_PROBLEMS]]
    return problem_response(422, "invalid_request", "The request is not valid.", errors=errors)


def _is_body_of_another_type(request: Request, found: Sequence[Any]) -> bool:
    """Tell whether a body was not read as JSON because its content type says that it is none."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
    return not is_json and any(item["loc"] == ("body",) and isinstance(item.get("input"), bytes) for item in found)


def _field_problem(item: Mapping[str, Any]) -> FieldProblem:
    if item["type"] == "json_invalid":  # where a field has its name there is a position in the text
        reason, position = item["ctx"]["error"], item["loc"][-1]
        return FieldProblem(location="body", message=f"Not JSON at character {position}: {reason}", code=item["type"])
    return FieldProblem(location=".".join(str(part) for part in item["loc"]), message=item["msg"], code=item["type"])


async def _on_http_exception(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    code, detail = _HTTP_ERRORS.get(error.status_code, ("http_error", str(error.detail)))
    return problem_response(error.status_code, code, detail, headers=error.headers)


async def _on_transient_error(_request: Request, error: Exception) -> JSONResponse:
    log.warning("request_failed_for_now", error=str(error))
    return temporarily_unavailable()
