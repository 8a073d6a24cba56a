"""An OpenID Connect provider, made with authlib's server side. Run it as a process: `oidc_provider.py PORT`.

Whoever comes is signed in as the `login_hint` of the authorization request says, which a browser would be asked for.
The hint is JSON: the claims to tell, and under `fault` what to do wrong.
"""

from __future__ import annotations

import hmac
import json
import secrets
import sys
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import AuthorizationCodeMixin, ClientMixin
from authlib.oauth2.rfc6749.grants import AuthorizationCodeGrant
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, Response, jsonify, request
from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT_ID = "posthorn"
CLIENT_SECRET = "a secret & of the client"
REDIRECT_URI = "https://app.example.com/signed-in"
KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig", "alg": "RS256"})
STRANGER = RSAKey.generate_key(2048, {"kid": "first"})
PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 0
ISSUER = f"http://127.0.0.1:{PORT}"


class Client(ClientMixin):
    def get_client_id(self) -> str:
        return CLIENT_ID

    def get_default_redirect_uri(self) -> str:
        return REDIRECT_URI

    def get_allowed_scope(self, scope: str) -> str:
        return scope

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return redirect_uri == REDIRECT_URI

    def check_client_secret(self, client_secret: str) -> bool:
        return unquote_plus(client_secret) == CLIENT_SECRET  # RFC 6749 §2.3.1: form-encoded inside of Basic

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == "client_secret_basic"

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "authorization_code"


@dataclass
class User:
    claims: dict[str, Any]

    def get_user_id(self) -> str:
        return str(self.claims["sub"])


@dataclass
class Code(AuthorizationCodeMixin):
    code: str
    user: User
    scope: str
    nonce: str | None
    code_challenge: str | None
    code_challenge_method: str | None
    auth_time: int = field(default_factory=lambda: int(time.time()))

    def get_redirect_uri(self) -> str:
        return REDIRECT_URI

    def get_scope(self) -> str:
        return self.scope

    def get_nonce(self) -> str | None:
        return self.nonce

    def get_auth_time(self) -> int:
        return self.auth_time

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


CODES: dict[str, Code] = {}


class CodeGrant(AuthorizationCodeGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = ["client_secret_basic"]

    def save_authorization_code(self, code: str, request: Any) -> None:
        data = request.payload.data
        CODES[code] = Code(
            code, request.user, request.payload.scope, data.get("nonce"), data.get("code_challenge"),
            data.get("code_challenge_method"),
        )  # fmt: skip

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        return CODES.get(code)

    def delete_authorization_code(self, authorization_code: Code) -> None:
        CODES.pop(authorization_code.code, None)

    def authenticate_user(self, authorization_code: Code) -> User:
        return authorization_code.user


class IdTokens(OpenIDCode):
    def exists_nonce(self, nonce: str, request: Any) -> bool:
        return any(code.nonce == nonce for code in CODES.values())

    def generate_user_info(self, user: User, scope: str) -> dict[str, Any]:
        return user.claims

    def encode_id_token(self, token: Any, request: Any) -> str:
        claims = dict(request.user.claims)
        fault = claims.pop("fault", None)
        now = int(time.time())
        claims = {
            "iss": ISSUER, "aud": CLIENT_ID, "iat": now, "exp": now + 300,
            **self.get_authorization_code_claims(request.authorization_code), **claims, **FAULTY_CLAIMS.get(fault, {}),
        }  # fmt: skip
        if fault == "expired":
            claims |= {"iat": now - 900, "exp": now - 600}
        return FAULTY_SIGNATURES.get(fault, signed)(claims)


FAULTY_CLAIMS: dict[str | None, dict[str, Any]] = {
    "another audience": {"aud": "somebody else"},
    "another party": {"aud": [CLIENT_ID, "somebody else"], "azp": "somebody else"},
    "several audiences": {"aud": [CLIENT_ID, "somebody else"]},
    "another issuer": {"iss": "https://attacker.example"},
    "another nonce": {"nonce": "of another login"},
    "no subject": {"sub": ""},
    "a subject that PostgreSQL cannot store": {"sub": "\0"},
    "a subject that is not ASCII": {"sub": "\u00e9"},
    "a long subject": {"sub": "a" * 256},
}


def signed(claims: dict[str, Any], key: RSAKey = KEY, key_id: str = "first") -> str:
    return jwt.encode({"alg": "RS256", "kid": key_id}, claims, key, ["RS256"])


def unsigned(claims: dict[str, Any]) -> str:
    return f"eyJhbGciOiJub25lIn0.{signed(claims).split('.')[1]}."


def signed_with(secret: bytes, claims: dict[str, Any], algorithm: object = "HS256") -> str:
    # By hand: the library refuses to take the text of a public key for a secret, as it should.
    header = json.dumps({"alg": algorithm, "kid": "first"}).encode()
    content = f"{encoded(header)}.{encoded(json.dumps(claims).encode())}"
    return f"{content}.{encoded(hmac.digest(secret, content.encode(), 'sha256'))}"


def encoded(part: bytes) -> str:
    return urlsafe_b64encode(part).decode().rstrip("=")


FAULTY_SIGNATURES: dict[str | None, Callable[[dict[str, Any]], str]] = {
    "another key": lambda claims: signed(claims, STRANGER),
    "unknown key": lambda claims: signed(claims, STRANGER, "second"),
    "no signature": unsigned,
    "signed with the client secret": lambda claims: signed_with(CLIENT_SECRET.encode(), claims),
    "a list of algorithms": lambda claims: signed_with(b"", claims, ["RS256"]),
    "signed with the public key": lambda claims: signed_with(KEY.as_bytes(private=False), claims),
}

app = Flask(__name__)
server = AuthorizationServer(app, lambda client_id: Client() if client_id == CLIENT_ID else None, lambda *_: None)
server.register_grant(CodeGrant, [IdTokens(require_nonce=True), CodeChallenge(required=True)])


@app.get("/.well-known/openid-configuration")
def discovery() -> Response:
    return jsonify(
        issuer=ISSUER,
        authorization_endpoint=f"{ISSUER}/authorize",
        token_endpoint=f"{ISSUER}/token",
        jwks_uri=f"{ISSUER}/jwks",
        response_types_supported=["code"],
        subject_types_supported=["public"],
        id_token_signing_alg_values_supported=["RS256"],
        token_endpoint_auth_methods_supported=["client_secret_basic"],
        code_challenge_methods_supported=["S256"],
    )


@app.get("/imposter/.well-known/openid-configuration")
def imposter() -> Response:
    return discovery()


@app.get("/jwks")
def jwks() -> Response:
    return jsonify(keys=[KEY.as_dict(private=False)])


@app.get("/authorize")
def authorize() -> Response:
    user = User(json.loads(request.args["login_hint"]))
    answer: Response = server.create_authorization_response(
        grant_user=user, grant=server.get_consent_grant(end_user=user)
    )
    return answer


@app.post("/token")
def token() -> Response:
    answer: Response = server.create_token_response()
    return answer


if __name__ == "__main__":
    app.secret_key = secrets.token_bytes(16)
    app.run("127.0.0.1", PORT, threaded=True)
