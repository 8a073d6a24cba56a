"""Why the door does not open.

Refused
├── InvalidTarget, InvalidHost    nothing that a client sends by accident
├── MethodNotAllowed
├── NoSuchPage
├── OriginNotAllowed              a browser asked for a page of another origin
├── NotAuthenticated
│   └── InvalidToken              also a void API key, or a session that is over
├── RateLimited
├── BodyTooLarge, BodyTooSlow
├── InvalidIdempotencyKey, IdempotencyKeyReused
├── RequestInProgress, OutcomeUnknown, AnswerNotKept   an Idempotency-Key that was sent before
├── RevocationsUnknown            who has been shut out lately is not known
├── IdempotencyUnavailable        keys cannot be looked up now
└── ServiceUnavailable            a service, or what the door itself needs, is away
    ├── ServiceLeftAlone          it has not answered lately: it was not asked
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


class OriginNotAllowed(Refused):
    """No organisation lets pages of this origin call."""

    code = "origin_not_allowed"

    def __init__(self) -> None:
        super().__init__("Pages of this origin may not call the API: no organisation allows it.")


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


class InvalidIdempotencyKey(Refused):
    """The header Idempotency-Key is not one key."""

    code = "invalid_idempotency_key"

    def __init__(self) -> None:
        super().__init__("Idempotency-Key must be one text of 1 to 255 visible ASCII characters.")


class IdempotencyKeyReused(Refused):
    """The key came before with another body."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used for another request. Use a new key for each request.")


class RequestInProgress(Refused):
    """The first request with the key has not been answered yet."""

    code = "idempotency_in_progress"

    def __init__(self) -> None:
        super().__init__("A request with this Idempotency-Key is being carried out. Try again for its answer.")


class OutcomeUnknown(Refused):
    """The first request with the key ended without an answer."""

    code = "idempotency_outcome_unknown"

    def __init__(self) -> None:
        super().__init__(
            "The first request with this Idempotency-Key was interrupted; it may have been carried out. "
            "Look whether it was, and use a new key if not."
        )


class AnswerNotKept(Refused):
    """The first request with the key was carried out; its answer was too large to keep."""

    code = "idempotency_answer_not_kept"

    def __init__(self) -> None:
        super().__init__(
            "The request with this Idempotency-Key has been carried out; its answer was too large to be kept."
        )


class IdempotencyUnavailable(Refused):
    """Keys cannot be looked up: nothing was done, because it could be done twice."""

    code = "idempotency_unavailable"

    def __init__(self) -> None:
        super().__init__("Idempotency keys cannot be looked up at the moment; nothing was done. Try again.")


class RevocationsUnknown(Refused):
    """Auth has not told for a while whose sessions and keys are over: nobody changes what admins change."""

    code = "revocations_unknown"

    def __init__(self) -> None:
        super().__init__("It is not known at the moment whose access was revoked; this has to wait. Try again.")


class ServiceUnavailable(Refused):
    """The service cannot be reached. `may_have_acted` tells whether it can have got the request all the same."""

    code = "service_unavailable"
    may_have_acted = False

    def __init__(self, service: str, *, may_have_acted: bool = False) -> None:
        super().__init__(f"The service {service} is not available. Try again.")
        self.service = service
        self.may_have_acted = may_have_acted


class ServiceLeftAlone(ServiceUnavailable):
    """The service has not answered lately: it was not asked."""

    def __init__(self, service: str, retry_after_seconds: int) -> None:
        super().__init__(service)
        self.retry_after_seconds = retry_after_seconds


class ServiceTimedOut(ServiceUnavailable):
    """The service did not answer in time; whether it did what it was asked to is not known."""

    code = "upstream_timeout"
    may_have_acted = True

    def __init__(self, service: str) -> None:
        Refused.__init__(self, f"The service {service} did not answer in time.")
        self.service = service


class InvalidAnswer(ServiceUnavailable):
    """The service answered something that is not HTTP."""

    code = "bad_gateway"
    may_have_acted = True

    def __init__(self, service: str) -> None:
        Refused.__init__(self, f"The answer of the service {service} is not valid.")
        self.service = service
