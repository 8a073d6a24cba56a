"""Tables of the schema `auth`."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from posthorn_common.db import new_metadata
from posthorn_common.outbox import outbox_table

metadata = new_metadata()
_time = sa.DateTime(timezone=True)

organisations = sa.Table(
    "organisations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("two_factor_required", sa.Boolean, nullable=False, server_default=sa.false()),
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.ForeignKey(organisations.c.id), nullable=False),
    sa.Column("email", sa.Text, nullable=False, unique=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("password_hash", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("updated_at", _time, nullable=False),
    sa.Column("email_verified_at", _time),
    sa.Column("two_factor", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("role IN ('owner', 'admin', 'editor', 'viewer')", name="role"),
    sa.CheckConstraint("status IN ('active', 'deactivated')", name="status"),
    sa.Index(None, "organisation_id", "id"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("user_id", sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("last_used_at", _time, nullable=False),
    sa.Column("expires_at", _time, nullable=False),
    sa.Column("revoked_at", _time),
    sa.Column("user_agent", sa.Text, nullable=False),
    sa.Index(None, "user_id", "id"),
    sa.Index(None, "expires_at"),
    sa.Index(None, "revoked_at", postgresql_where=sa.text("revoked_at IS NOT NULL")),
)

# Every token a session ever had, so that one that comes back is recognised.
refresh_tokens = sa.Table(
    "refresh_tokens",
    metadata,
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("session_id", sa.ForeignKey(sessions.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("used_at", _time),
    sa.Column("used_by", sa.LargeBinary),
)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.ForeignKey(organisations.c.id), nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("prefix", sa.Text, nullable=False),
    sa.Column("key_hash", sa.LargeBinary, nullable=False, unique=True),
    sa.Column("scopes", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("created_by", sa.Uuid, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time),
    sa.Column("last_used_at", _time),
    sa.Column("revoked_at", _time),
    sa.Column("replaced_by", sa.Uuid),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(None, "revoked_at", postgresql_where=sa.text("revoked_at IS NOT NULL")),
)

signing_keys = sa.Table(
    "signing_keys",
    metadata,
    sa.Column("id", sa.Text, primary_key=True),
    sa.Column("public_jwk", sa.Text, nullable=False),
    sa.Column("sealed_private_key", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("signs_from", _time, nullable=False),
)

invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.ForeignKey(organisations.c.id), nullable=False),
    sa.Column("email", sa.Text, nullable=False),
    sa.Column("role", sa.Text, nullable=False),
    sa.Column("invited_by", sa.Uuid, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time, nullable=False),
    sa.Column("accepted_at", _time),
    sa.Column("revoked_at", _time),
    sa.CheckConstraint("role IN ('owner', 'admin', 'editor', 'viewer')", name="role"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(
        "uq_invitations_open",
        "organisation_id",
        "email",
        unique=True,
        postgresql_where=sa.text("accepted_at IS NULL AND revoked_at IS NULL"),
    ),
)

# Mail about accounts. Its token follows from the id and a key; only the hash is here. `next_attempt_at` is NULL when
# the mailer has the mail, or nobody needs it any more.
account_mails = sa.Table(
    "account_mails",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("purpose", sa.Text, nullable=False),
    sa.Column("to_email", sa.Text, nullable=False),
    sa.Column("organisation_id", sa.Uuid),
    sa.Column("user_id", sa.ForeignKey(users.c.id)),
    sa.Column("invitation_id", sa.ForeignKey(invitations.c.id)),
    sa.Column("token_hash", sa.LargeBinary, unique=True),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time, nullable=False),
    sa.Column("used_at", _time),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", _time),
    sa.Index(None, "user_id"),
    sa.Index(None, "invitation_id"),
    sa.Index(None, "expires_at"),
    sa.Index(None, "organisation_id", "created_at"),
    sa.Index("ix_account_mails_waiting", "next_attempt_at", postgresql_where=sa.text("next_attempt_at IS NOT NULL")),
    # Of one address one reset waits at a time, whoever asks how often.
    sa.Index(
        "uq_account_mails_reset",
        "to_email",
        unique=True,
        postgresql_where=sa.text("purpose = 'reset_password' AND user_id IS NULL"),
    ),
)

second_factors = sa.Table(
    "second_factors",
    metadata,
    sa.Column("user_id", sa.ForeignKey(users.c.id), primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("sealed_secret", sa.LargeBinary, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("confirmed_at", _time),
    sa.Column("last_step", sa.BigInteger),
)

recovery_codes = sa.Table(
    "recovery_codes",
    metadata,
    sa.Column("user_id", sa.ForeignKey(users.c.id), primary_key=True),
    sa.Column("code_hash", sa.LargeBinary, primary_key=True),
)

# Logins whose password was right and whose second factor is to come.
login_challenges = sa.Table(
    "login_challenges",
    metadata,
    sa.Column("token_hash", sa.LargeBinary, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("user_id", sa.ForeignKey(users.c.id), nullable=False, index=True),
    sa.Column("expires_at", _time, nullable=False, index=True),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
)

identity_providers = sa.Table(
    "identity_providers",
    metadata,
    sa.Column("organisation_id", sa.ForeignKey(organisations.c.id), primary_key=True),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("client_id", sa.Text, nullable=False),
    sa.Column("sealed_client_secret", sa.LargeBinary),
    sa.Column("redirect_uri", sa.Text, nullable=False),
    sa.Column("auto_role", sa.Text),
    sa.CheckConstraint("auto_role IN ('editor', 'viewer')", name="auto_role"),
)

# Web pages that may call the API for an organisation's users; no row: none may.
cors_origins = sa.Table(
    "cors_origins",
    metadata,
    sa.Column("organisation_id", sa.ForeignKey(organisations.c.id), primary_key=True),
    sa.Column("origins", postgresql.ARRAY(sa.Text), nullable=False),
)

# Whoever is at a provider just now. PKCE verifier and nonce follow from the state, whose hash is here, and a key.
provider_logins = sa.Table(
    "provider_logins",
    metadata,
    sa.Column("state_hash", sa.LargeBinary, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("issuer", sa.Text, nullable=False),
    sa.Column("binding_hash", sa.LargeBinary, nullable=False),
    sa.Column("expires_at", _time, nullable=False, index=True),
)

identities = sa.Table(
    "identities",
    metadata,
    sa.Column("organisation_id", sa.Uuid, primary_key=True),
    sa.Column("issuer", sa.Text, primary_key=True),
    sa.Column("subject", sa.Text, primary_key=True),
    sa.Column("user_id", sa.ForeignKey(users.c.id), nullable=False),
)

# Who did what, told by all services. A trigger refuses every change of what is there.
audit_entries = sa.Table(
    "audit_entries",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("at", _time, nullable=False),
    sa.Column("service", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("actor_kind", sa.Text, nullable=False),
    sa.Column("actor_id", sa.Uuid),
    sa.Column("resource_kind", sa.Text),
    sa.Column("resource_id", sa.Uuid),
    sa.Column("address", sa.Text),
    sa.Column("request_id", sa.Text),
    sa.Index(None, "organisation_id", "at", "id"),
    sa.Index(None, "organisation_id", "actor_id", "at", "id"),
    sa.Index(None, "organisation_id", "resource_id", "at", "id"),
)

outbox = outbox_table(metadata)
