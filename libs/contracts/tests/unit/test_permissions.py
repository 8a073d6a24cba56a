"""The table of roles and permissions."""

from __future__ import annotations

from itertools import pairwise

from posthorn_contracts.permissions import ROLE_PERMISSIONS, Permission, Role


def test_every_role_may_do_what_the_weaker_ones_may() -> None:
    for stronger, weaker in pairwise(Role):
        assert ROLE_PERMISSIONS[stronger] > ROLE_PERMISSIONS[weaker]


def test_the_owner_may_do_everything() -> None:
    assert ROLE_PERMISSIONS[Role.OWNER] == set(Permission)


def test_a_viewer_changes_nothing() -> None:
    assert {permission.partition(":")[2] for permission in ROLE_PERMISSIONS[Role.VIEWER]} == {"read"}
