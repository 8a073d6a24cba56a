"""A cheap SMTP server of our own that accepts everything and keeps nothing.

Run as `python -m benchmarks.harness.sink PORT [PEM]`; with a certificate it speaks TLS from the first byte. It costs
less than Postfix's smtp-sink, and it takes the commands that PIPELINING and CHUNKING allow.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import cast

import uvloop

from posthorn_local.ports import LOOPBACK, answers, free_ports

_HELLO = b"250-sink\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-CHUNKING\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"
_END = b"\r\n.\r\n"


class _Session(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is one by its methods only
        self._waiting = b""
        self._in_data = False
        self._chunk_left = 0
        self._transport.write(b"220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._waiting += data
        replies: list[bytes] = []
        while self._step(replies):
            pass
        if replies:
            self._transport.write(b"".join(replies))

    def _step(self, replies: list[bytes]) -> bool:
        """Take one command or piece of content; return whether there was one."""
        if self._chunk_left:
            return self._skip_chunk(replies)
        end = _END if self._in_data else b"\r\n"
        found = self._waiting.find(end)
        if found < 0:
            if self._in_data:
                self._waiting = self._waiting[-len(_END) + 1 :]
            return False
        line, self._waiting = self._waiting[:found], self._waiting[found + len(end) :]
        if self._in_data:
            self._in_data = False
            replies.append(b"250 2.0.0 Ok\r\n")
        else:
            self._command(line.upper(), replies)
        return True

    def _skip_chunk(self, replies: list[bytes]) -> bool:
        skipped = min(self._chunk_left, len(self._waiting))
        self._waiting = self._waiting[skipped:]
        self._chunk_left -= skipped
        if self._chunk_left == 0:
            replies.append(b"250 2.0.0 Ok\r\n")
        return self._chunk_left == 0

    def _command(self, line: bytes, replies: list[bytes]) -> None:
        match line[:4]:
            case b"EHLO":
                replies.append(_HELLO)
            case b"DATA":
                self._in_data = True
                # Found again where the content is empty: its end is then a dot on the first line.
                self._waiting = b"\r\n" + self._waiting
                replies.append(b"354 Go on\r\n")
            case b"BDAT":
                self._chunk_left = int(line.split()[1])
                if self._chunk_left == 0:
                    replies.append(b"250 2.0.0 Ok\r\n")
            case b"QUIT":
                replies.append(b"221 2.0.0 Bye\r\n")
            case _:
                replies.append(b"250 2.0.0 Ok\r\n")


@contextlib.asynccontextmanager
async def own_sink(certificate: Path | None = None) -> AsyncGenerator[tuple[int, int]]:
    """Run the sink in a process of its own, with a certificate over TLS; provide its port and pid."""
    port = free_ports(1)[0]
    arguments = [str(port), *([str(certificate)] if certificate else [])]
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "benchmarks.harness.sink", *arguments)
    try:
        while not answers(port):
            if process.returncode is not None:
                raise RuntimeError(f"the sink ended with status {process.returncode}")
            await asyncio.sleep(0.05)
        yield port, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _serve(port: int, certificate: str | None = None) -> None:
    context = None
    if certificate is not None:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(certificate)
    server = await asyncio.get_running_loop().create_server(_Session, LOOPBACK, port, ssl=context)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), *sys.argv[2:]))
