"""Which servers migrations run on."""

from __future__ import annotations

import pytest

from posthorn_common.migrations import ServerTooOld, check_server


def test_an_old_server_is_refused_with_both_versions_and_a_new_one_is_not():
    with pytest.raises(ServerTooOld, match=r"PostgreSQL 18 or newer is needed; this server is 15\.3"):
        check_server(150_003)
    check_server(180_000)
    check_server(190_001)
