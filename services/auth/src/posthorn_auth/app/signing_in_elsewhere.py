"""Sign-in through an organisation's own identity provider."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from uuid import UUID

from posthorn_auth.app.joining import Joining, join
from posthorn_auth.app.passwords import NewPasswords
from posthorn_auth.app.ports import NewUnitOfWork, UnitOfWork
from posthorn_auth.app.ports_factors import Box
from posthorn_auth.app.ports_providers import Exchange, OidcClient
from posthorn_auth.app.signing_in import Client, SignedIn, SigningIn
from posthorn_auth.domain.credentials import hash_secret, new_secret
from posthorn_auth.domain.errors import (
    LoginNotKnown,
    NoAccountHere,
    ProviderNotFound,
    ProviderRefused,
    UserNotFound,
)
from posthorn_auth.domain.identity_providers import (
    Claims,
    IdentityProvider,
    PendingLogin,
    client_secret_purpose,
    code_challenge,
    code_verifier,
    nonce,
)
from posthorn_auth.domain.users import User
from posthorn_common.addresses import InvalidAddress, normalise_address
from posthorn_common.clock import Clock

_LONGEST_SUBJECT = 255
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """What an owner says of the organisation's provider."""

    issuer: str
    client_id: str
    client_secret: str | None
    redirect_uri: str
    auto_role: str | None


@dataclass(frozen=True, slots=True)
class Start:
    """Where to send the user, and what only their own browser knows."""

    authorization_url: str
    login_token: str


@dataclass(frozen=True, slots=True)
class Return:
    """What came back from the provider, and the token of the browser that started."""

    state: str
    code: str
    login_token: str
    issuer: str | None


class ManagingProvider:
    """The use cases of an organisation's identity provider."""

    def __init__(self, *, new_unit_of_work: NewUnitOfWork, oidc: OidcClient, box: Box) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._oidc = oidc
        self._box = box

    async def get(self, organisation_id: UUID) -> IdentityProvider:
        """Return the provider. Raises ProviderNotFound."""
        async with self._new_unit_of_work() as uow:
            provider = await uow.providers.get(organisation_id)
        if provider is None:
            raise ProviderNotFound
        return provider

    async def set_up(self, organisation_id: UUID, wanted: ProviderSettings) -> IdentityProvider:
        """Store the provider, if discovery finds it. Raises IssuerNotUsable."""
        await self._oidc.check(wanted.issuer)
        secret = wanted.client_secret
        provider = IdentityProvider(
            organisation_id=organisation_id,
            issuer=wanted.issuer,
            client_id=wanted.client_id,
            sealed_client_secret=None
            if secret is None
            else self._box.seal(secret.encode(), purpose=client_secret_purpose(organisation_id)),
            redirect_uri=wanted.redirect_uri,
            auto_role=wanted.auto_role,
        )
        async with self._new_unit_of_work() as uow:
            await uow.providers.save(provider)
        return provider

    async def remove(self, organisation_id: UUID) -> None:
        """Let nobody sign in through a provider any more; sessions go on. Removing twice is no error."""
        async with self._new_unit_of_work() as uow:
            await uow.providers.remove(organisation_id)


class SigningInElsewhere:
    """The use cases of signing in through a provider."""

    def __init__(
        self,
        *,
        new_unit_of_work: NewUnitOfWork,
        oidc: OidcClient,
        box: Box,
        passwords: NewPasswords,
        signing_in: SigningIn,
        clock: Clock,
        login_key: bytes,
    ) -> None:
        self._new_unit_of_work = new_unit_of_work
        self._oidc = oidc
        self._box = box
        self._passwords = passwords
        self._signing_in = signing_in
        self._clock = clock
        self._key = login_key

    async def start(self, organisation_id: UUID) -> Start:
        """Return where to send the user. Raises ProviderNotFound, ProviderRefused, TransientError."""
        async with self._new_unit_of_work() as uow:
            provider = await uow.providers.get(organisation_id)
        if provider is None:
            raise ProviderNotFound
        state, login_token = new_secret(), new_secret()
        url = await self._oidc.authorization_url(
            provider,
            state=state,
            nonce=nonce(state, self._key),
            code_challenge=code_challenge(code_verifier(state, self._key)),
        )
        async with self._new_unit_of_work() as uow:
            login = PendingLogin(organisation_id, provider.issuer, hash_secret(login_token))
            await uow.providers.add_login(hash_secret(state), login)
        return Start(url, login_token)

    async def complete(self, returned: Return, client: Client) -> SignedIn:
        """Sign in whoever the provider says it was. What came back is good for one attempt.

        Raises LoginNotKnown (too late, a second time, another browser, another provider), ProviderRefused,
        NoAccountHere, EmailTaken, TransientError. A second factor is the provider's business.
        """
        async with self._new_unit_of_work() as uow:
            login = await uow.providers.take_login(hash_secret(returned.state))
            provider = None if login is None else await uow.providers.get(login.organisation_id)
        if login is None or provider is None or provider.issuer != login.issuer:
            raise LoginNotKnown
        if not hmac.compare_digest(login.binding_hash, hash_secret(returned.login_token)):
            raise LoginNotKnown  # somebody wants another's browser to be signed in as themselves
        if returned.issuer not in {None, provider.issuer}:
            raise LoginNotKnown  # RFC 9207: the answer is of another provider
        state = returned.state
        exchange = Exchange(returned.code, code_verifier(state, self._key), nonce(state, self._key))
        claims = await self._oidc.claims(provider, self._secret(provider), exchange)
        if not _is_subject(claims.subject):
            raise ProviderRefused("the ID token names nobody")
        password_hash = await self._passwords.hash_of_nobody()
        async with self._new_unit_of_work() as uow:
            user = await self._user(uow, provider, claims, password_hash)
            session, refresh_token = await self._signing_in.open_session(uow, user, client)
        return SignedIn(user, await self._signing_in.answer(user, session, refresh_token))

    def _secret(self, provider: IdentityProvider) -> str | None:
        if provider.sealed_client_secret is None:
            return None
        purpose = client_secret_purpose(provider.organisation_id)
        return self._box.open(provider.sealed_client_secret, purpose=purpose).decode()

    async def _user(self, uow: UnitOfWork, provider: IdentityProvider, claims: Claims, password_hash: str) -> User:
        """Return the active user that somebody at the provider is here: known, found by address, or new."""
        organisation_id = provider.organisation_id
        known = await uow.providers.user_of(organisation_id, claims.issuer, claims.subject)
        if known is None:
            user = await self._by_address(uow, provider, claims, password_hash)
            await uow.providers.link(organisation_id, claims.issuer, claims.subject, user.id)
        else:
            user = await uow.users.lock(organisation_id, known)
        if not user.is_active:
            raise NoAccountHere
        return user

    async def _by_address(
        self, uow: UnitOfWork, provider: IdentityProvider, claims: Claims, password_hash: str
    ) -> User:
        email = _address(claims)
        found = await uow.users.by_email(email)
        if found is not None:
            try:
                user = await uow.users.lock(provider.organisation_id, found.id)
            except UserNotFound as error:
                raise NoAccountHere from error  # the address belongs to a user of another organisation
            if user.email != email:
                raise NoAccountHere
            return user
        if provider.auto_role is None:
            raise NoAccountHere
        joining = Joining(
            organisation_id=provider.organisation_id,
            email=email,
            name=_name(claims.name) or email.partition("@")[0],
            role=provider.auto_role,
            password_hash=password_hash,
            email_verified=True,
        )
        return await join(uow, joining, self._clock)


def _is_subject(text: str) -> bool:
    """Whether text identifies somebody (OpenID Connect Core §2)."""
    return 0 < len(text) <= _LONGEST_SUBJECT and text.isascii() and text.isprintable()


def _address(claims: Claims) -> str:
    """Return the address that the provider has verified; without one nobody is found. Raises NoAccountHere."""
    if claims.email is None or not claims.email_verified:
        raise NoAccountHere
    try:
        return normalise_address(claims.email)
    except InvalidAddress as error:
        raise NoAccountHere from error


def _name(text: str | None) -> str:
    """Return a name on one line."""
    printable = "".join(char for char in text or "" if char.isprintable())
    return " ".join(printable.split())[:_LONGEST_NAME]
