from __future__ import annotations

import subprocess
import sys


def test_redis_is_neither_safe_nor_unsafe_before_it_is_checked():
    program = (
        "import posthorn_common.jobs\n"
        "from prometheus_client import REGISTRY\n"
        "print(REGISTRY.get_sample_value('posthorn_redis_safe'))"
    )

    value = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()

    assert value == "nan"
