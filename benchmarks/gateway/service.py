"""The service behind the gateway and nginx: answers one kilobyte of JSON, and for auth what the gateway asks of it."""

from __future__ import annotations

import base64
import json
import os
import sys
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

SEED_VARIABLE = "POSTHORN_BENCH_SIGNING_SEED"
KEY_ID = "benchmark"
_ITEM = {"id": "0198c2f4-7d1e-7c3a-9d57-2f6f1c1b9a10", "email": "reader@example.com", "attributes": {"plan": "a" * 60}}
_PAGE = json.dumps({"items": [_ITEM] * 6, "next_cursor": None}).encode()


def _signing_keys() -> bytes:
    key = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(os.environ[SEED_VARIABLE])).public_key()
    x = base64.urlsafe_b64encode(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).rstrip(b"=").decode()
    return json.dumps({"keys": [{"kty": "OKP", "crv": "Ed25519", "x": x, "kid": KEY_ID, "alg": "EdDSA"}]}).encode()


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    bodies = {
        "/.well-known/jwks.json": _KEYS,
        "/internal/revocations": b'{"revoked": []}',
        "/internal/cors-origins": b'{"organisations": []}',
    }
    body = bodies.get(scope["path"], _PAGE)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    _KEYS = _signing_keys()
    uvicorn.run(_answer, port=int(sys.argv[1]), lifespan="off", access_log=False, log_level="warning")
