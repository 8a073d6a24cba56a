"""Whether containers can be used here."""

from __future__ import annotations

import shutil
import subprocess

_ANSWER_SECONDS = 5


def docker_answers() -> bool:
    """Return whether a Docker engine can be used from here."""
    if shutil.which("docker") is None:
        return False
    try:
        command = ["docker", "info", "--format", "{{.ServerVersion}}"]
        result = subprocess.run(command, check=False, capture_output=True, timeout=_ANSWER_SECONDS)
    except subprocess.TimeoutExpired:
        return False
    return result.returncode == 0
