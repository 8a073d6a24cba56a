"""nginx as a plain proxy, from Debian's package, which is downloaded and unpacked, never installed."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path

from benchmarks.harness.servers import BENCH_FOLDER
from posthorn_local.ports import LOOPBACK, answers, free_ports

_FOLDER = BENCH_FOLDER / "nginx"
_PROGRAM = _FOLDER / "usr" / "sbin" / "nginx"
_CONFIGURATION = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  keepalive_requests 1000000;
  upstream service {{ server {host}:{service}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen {host}:{port};
    location / {{ proxy_pass http://service; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


class NginxUnavailable(Exception):
    """It cannot be had on this machine; the message says why."""


@contextlib.asynccontextmanager
async def nginx(service_port: int) -> AsyncGenerator[tuple[int, int]]:
    """Run it before a service on loopback; provide its port and pid. Raises NginxUnavailable."""
    await asyncio.to_thread(_unpack)
    port = free_ports(1)[0]
    configuration = _FOLDER / "nginx.conf"
    configuration.write_text(_CONFIGURATION.format(folder=_FOLDER, host=LOOPBACK, service=service_port, port=port))
    process = await asyncio.create_subprocess_exec(_PROGRAM, "-p", _FOLDER, "-c", configuration)
    try:
        while not answers(port):
            if process.returncode is not None:
                raise NginxUnavailable(f"nginx ended with status {process.returncode}")
            await asyncio.sleep(0.05)
        yield port, process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


def _unpack() -> None:
    if _PROGRAM.exists():
        return
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise NginxUnavailable("this is not Debian")
    _FOLDER.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(["apt-get", "download", "nginx"], cwd=_FOLDER, check=True, capture_output=True)
        package = next(_FOLDER.glob("nginx_*.deb"))
        subprocess.run(["dpkg-deb", "--extract", package, _FOLDER], check=True, capture_output=True)
    except (subprocess.CalledProcessError, StopIteration) as error:
        raise NginxUnavailable("its package cannot be downloaded") from error
    if not Path(_PROGRAM).exists():
        raise NginxUnavailable("its package has no program")
