"""Rules of roles, passwords and signing keys."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from posthorn_auth.bootstrap import COMMON_PASSWORDS
from posthorn_auth.domain.credentials import hash_secret, new_api_key, shown_prefix
from posthorn_auth.domain.errors import NotAllowed, WeakPassword
from posthorn_auth.domain.passwords import check_password, normalised
from posthorn_auth.domain.signing_keys import SigningKey, current_key, published_keys
from posthorn_auth.domain.users import User, UserStatus, check_may_add, check_may_change

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROLES = ("owner", "admin", "editor", "viewer")


def a_user(role: str) -> User:
    return User(
        id=uuid4(), organisation_id=uuid4(), email="a@b.example", name="A", role=role, status=UserStatus.ACTIVE,
        password_hash="", created_at=NOW, updated_at=NOW,
    )  # fmt: skip


@pytest.mark.parametrize("actor", ROLES)
@pytest.mark.parametrize("role", ROLES)
def test_who_may_add_and_change_whom(actor: str, role: str) -> None:
    allowed = actor == "owner" or (actor == "admin" and role != "owner")
    for check in (
        lambda: check_may_add(actor, role),
        lambda: check_may_change(uuid4(), actor, a_user(role), None),
        lambda: check_may_change(uuid4(), actor, a_user("viewer"), role),
    ):
        if allowed:
            check()
        else:
            with pytest.raises(NotAllowed):
                check()


def test_nobody_changes_their_own_role() -> None:
    owner = a_user("owner")
    check_may_change(owner.id, "owner", owner, "owner")
    with pytest.raises(NotAllowed):
        check_may_change(owner.id, "owner", owner, "viewer")


@pytest.mark.parametrize(
    "password", ["a" * 11, "abcd" * 33, "password12345", "PASSWORD12345", "aaaaaaaaaaaab", "lovelace2026"]
)
def test_weak_passwords_are_refused(password: str) -> None:
    with pytest.raises(WeakPassword):
        check_password(password, common={"password12345"}, context=("Lovelace",))


@pytest.mark.parametrize(
    "password",
    [
        "1qaz2wsx3edc",
        "unbelievable",
        "Unbelievable!",
        "Password123456",
        "2024dragon2024",
        "letmeinletmein",
        "!!Baseball2026",
    ],
)
def test_what_many_people_use_is_refused_by_the_list_that_is_shipped(password: str) -> None:
    common = frozenset(COMMON_PASSWORDS.read_text().splitlines())
    assert len(common) == 30_000
    with pytest.raises(WeakPassword):
        check_password(password, common=common)
    check_password("seventeen lighthouses in fog", common=common)


def test_the_same_characters_typed_in_another_way_are_the_same_password() -> None:
    assert normalised("Zu\u0308rich am ﬁnalen Tag") == normalised("Z\u00fcrich am finalen Tag")


@pytest.mark.parametrize("password", ["correct horse lamp", "ünïcödé is fine ✓", "a lovelace sentence that is long"])
def test_long_passwords_are_welcome(password: str) -> None:
    check_password(password, common={"password12345"}, context=("Lovelace",))


def test_api_keys_are_recognisable_and_unlike() -> None:
    first, second = new_api_key(), new_api_key()
    assert first.startswith("ph_")
    assert len(first) > 40
    assert hash_secret(first) != hash_secret(second)
    assert len(shown_prefix(first)) < len(first) / 3


def a_key(name: str, signs_from: datetime) -> SigningKey:
    return SigningKey(id=name, public_jwk="", sealed_private_key=b"", created_at=NOW, signs_from=signs_from)


def test_a_key_is_published_before_it_signs_and_after() -> None:
    old, new = a_key("old", NOW - timedelta(days=1)), a_key("new", NOW + timedelta(minutes=10))
    keys = [new, old]
    assert current_key(keys, NOW) is old
    assert published_keys(keys, NOW) == [old, new]
    later = NOW + timedelta(minutes=20)
    assert current_key(keys, later) is new
    assert published_keys(keys, later) == [old, new], "tokens of the old key are still alive"
    assert published_keys(keys, NOW + timedelta(hours=1)) == [new]


def test_the_first_key_signs_though_its_maker_has_a_clock_that_is_ahead() -> None:
    first = a_key("first", NOW + timedelta(seconds=2))
    assert current_key([first], NOW) is first
    assert published_keys([first, a_key("next", NOW + timedelta(minutes=10))], NOW)[0] is first
