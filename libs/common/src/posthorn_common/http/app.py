"""The FastAPI application every service starts from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import APIRouter, FastAPI
from prometheus_fastapi_instrumentator import Instrumentator

from posthorn_common.http.health import Check, health_router
from posthorn_common.http.identity import Identity
from posthorn_common.http.middleware import RequestContextMiddleware
from posthorn_common.http.problems import PROBLEM_JSON, Problem, install_problem_handlers, responses

ONE_MEBIBYTE = 1024 * 1024
_LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


@dataclass(frozen=True)
class AppParts:
    """What a service adds to the common application.

    `max_body_bytes` holds for all routes but those that set a `max_body_size` of their own. `openapi_url` is None for
    a service that serves another document there.
    """

    service: str
    title: str
    description: str
    routers: tuple[APIRouter, ...]
    identity: Identity | None = None
    checks: Mapping[str, Check] = field(default_factory=dict)
    side_checks: Mapping[str, Check] = field(default_factory=dict)
    error_statuses: Mapping[type[Exception], int] = field(default_factory=dict)
    state: Mapping[str, Any] = field(default_factory=dict)
    max_body_bytes: int = ONE_MEBIBYTE
    tags: tuple[dict[str, str], ...] = ()
    openapi_url: str | None = "/openapi.json"


def create_app(parts: AppParts) -> FastAPI:
    """Return the application: routes, problems, ids, body limit, metrics and health.

    Bootstrap opens and closes what the routes use; it reaches them through `app.state`.
    """
    app = FastAPI(
        title=parts.title,
        description=parts.description,
        version="1.0",
        openapi_url=parts.openapi_url,
        docs_url=None,
        redoc_url=None,
        openapi_tags=list(parts.tags),
        separate_input_output_schemas=False,
        max_body_size=parts.max_body_bytes,
    )
    for name, value in parts.state.items():
        setattr(app.state, name, value)
    app.state.service = parts.service
    app.state.identity = parts.identity
    app.state.draining = False
    install_problem_handlers(app, parts.error_statuses)
    for router in parts.routers:
        app.include_router(router)
    app.include_router(health_router(parts.service, parts.checks, parts.side_checks))
    _measure(app)
    app.add_middleware(RequestContextMiddleware)
    _document_problems(app)
    return app


def _measure(app: FastAPI) -> None:
    instrumentator = Instrumentator(excluded_handlers=["/health/.*", "/metrics"])
    instrumentator.instrument(app, latency_lowr_buckets=_LATENCY_BUCKETS).expose(app, include_in_schema=False)


def _document_problems(app: FastAPI) -> None:
    """Put the Problem schema into the OpenAPI document, and let it describe the answers to bodies that are wrong."""
    make = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = make()
            schemas = document.setdefault("components", {}).setdefault("schemas", {})
            template = "#/components/schemas/{model}"
            problem = Problem.model_json_schema(ref_template=template)
            schemas.update(problem.pop("$defs", {}))
            schemas["Problem"] = problem
            for unused in ("HTTPValidationError", "ValidationError"):
                schemas.pop(unused, None)
            for operations in document.get("paths", {}).values():
                for operation in operations.values():
                    _replace_validation_error(operation)
                    _add_media_type_error(operation)
            app.openapi_schema = document
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend the document


def _replace_validation_error(operation: dict[str, Any]) -> None:
    answer = operation.get("responses", {}).get("422")
    if answer is not None:
        answer["description"] = "The request is not valid"
        others = {name: item for name, item in answer.get("content", {}).items() if name != "application/json"}
        answer["content"] = {**others, PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def _add_media_type_error(operation: dict[str, Any]) -> None:
    if "application/json" in operation.get("requestBody", {}).get("content", {}):
        for status, answer in responses(415).items():
            operation["responses"].setdefault(str(status), answer)
