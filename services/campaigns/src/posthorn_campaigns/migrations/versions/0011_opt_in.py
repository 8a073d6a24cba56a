"""lists.opt_in, lists.is_public, subscription_changes, confirmations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_STATUS = "ck_subscriptions_status"


def upgrade() -> None:
    op.add_column("lists", sa.Column("opt_in", sa.Text(), server_default="single", nullable=False))
    op.add_column("lists", sa.Column("is_public", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.create_check_constraint(op.f("ck_lists_opt_in"), "lists", "opt_in IN ('single', 'double')")
    op.drop_constraint(op.f(_STATUS), "subscriptions", type_="check")
    op.create_check_constraint(
        op.f(_STATUS), "subscriptions", "status IN ('unconfirmed', 'subscribed', 'unsubscribed')"
    )
    op.create_table(
        "subscription_changes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("remote_address", sa.Text(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("clock_timestamp()"), nullable=False),
        *_keys("subscription_changes"),
    )
    op.create_index(op.f("ix_subscription_changes_list_id"), "subscription_changes", ["list_id"], unique=False)
    op.create_index(
        op.f("ix_subscription_changes_contact_id_id"), "subscription_changes", ["contact_id", "id"], unique=False
    )
    op.create_table(
        "confirmations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("requested_from", sa.Text(), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("next_attempt_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("confirmed_from", sa.Text(), nullable=True),
        *_keys("confirmations"),
    )
    for column in ("list_id", "contact_id"):
        op.create_index(op.f(f"ix_confirmations_{column}"), "confirmations", [column], unique=False)
    op.create_index(
        "ix_confirmations_waiting",
        "confirmations",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("next_attempt_at IS NOT NULL"),
    )


def _keys(table: str) -> list[sa.Constraint]:
    return [
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
        *(
            sa.ForeignKeyConstraint(
                [f"{other}_id"], [f"{other}s.id"], name=op.f(f"fk_{table}_{other}_id_{other}s"), ondelete="CASCADE"
            )
            for other in ("list", "contact")
        ),
    ]


def downgrade() -> None:
    op.drop_table("confirmations")
    op.drop_table("subscription_changes")
    op.execute("DELETE FROM subscriptions WHERE status = 'unconfirmed'")
    op.drop_constraint(op.f(_STATUS), "subscriptions", type_="check")
    op.create_check_constraint(op.f(_STATUS), "subscriptions", "status IN ('subscribed', 'unsubscribed')")
    op.drop_constraint(op.f("ck_lists_opt_in"), "lists", type_="check")
    op.drop_column("lists", "is_public")
    op.drop_column("lists", "opt_in")
