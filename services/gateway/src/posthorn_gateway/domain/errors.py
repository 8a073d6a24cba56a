"""Why the door does not open.

Refused
├── InvalidTarget, InvalidHost    nothing that a client sends by accident
├── MethodNotAllowed
├── NoSuchPage
├── NotAuthenticated
│   └── InvalidToken              also a void API key, or a session that is over
├── RateLimited
├── BodyTooLarge, BodyTooSlow
└── ServiceUnavailable            a service, or what the door itself needs, is away
    ├── ServiceTimedOut           it took the request and did not answer
    └── InvalidAnswer             it answered something that is not HTTP
"""

from __future__ import annotations


class Refused(Exception):
    """A request that is answered by the gateway itself. `code` is stable."""

    code = "refused"


class InvalidTarget(Refused):
    """The path or query is written in a way that could be read in two ways."""

    code = "invalid_path"


class InvalidHost(Refused):
    """The Host header is missing, malformed or not one of ours."""

    code = "invalid_host"


class MethodNotAllowed(Refused):
    """A method that no route has."""

    code = "method_not_allowed"


class NoSuchPage(Refused):
    """A page that the outside has no business with."""

    code = "not_found"

    def __init__(self) -> None:
        super().__init__("There is nothing at this address.")


class NotAuthenticated(Refused):
    """There is no bearer token."""

    code = "not_authenticated"

    def __init__(self, detail: str = "A bearer token is needed.") -> None:
        super().__init__(detail)


class InvalidToken(NotAuthenticated):
    """There is one, and it is not accepted."""

    code = "invalid_token"


class RateLimited(Refused):
    """The caller has used up its share of requests for now."""

    code = "rate_limited"

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("Too many requests. Try again later.")
        self.retry_after_seconds = retry_after_seconds


class BodyTooLarge(Refused):
    """The body is larger than the route takes."""

    code = "body_too_large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes.")


class BodyTooSlow(Refused):
    """The client stopped in the middle of the body."""

    code = "request_timeout"

    def __init__(self) -> None:
        super().__init__("The body did not arrive in time.")


class ServiceUnavailable(Refused):
    """The service cannot be reached."""

    code = "service_unavailable"

    def __init__(self, service: str) -> None:
        super().__init__(f"The service {service} is not available. Try again.")
        self.service = service


class ServiceTimedOut(ServiceUnavailable):
    """The service did not answer in time; whether it did what it was asked to is not known."""

    code = "upstream_timeout"

    def __init__(self, service: str) -> None:
        Refused.__init__(self, f"The service {service} did not answer in time.")
        self.service = service


class InvalidAnswer(ServiceUnavailable):
    """The service answered something that is not HTTP."""

    code = "bad_gateway"

    def __init__(self, service: str) -> None:
        Refused.__init__(self, f"The answer of the service {service} is not valid.")
        self.service = service
