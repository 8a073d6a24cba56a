"""list_counts, kept by triggers; subscription_changes by contact."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# Of each statement that changes subscriptions, by how much it changes each list's count.
_COUNT = """
CREATE FUNCTION count_subscriptions() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO list_counts (list_id, organisation_id, contacts)
        SELECT list_id, organisation_id, count(*) FROM added WHERE status = 'subscribed'
        GROUP BY list_id, organisation_id;
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO list_counts (list_id, organisation_id, contacts)
        SELECT list_id, organisation_id, -count(*) FROM removed WHERE status = 'subscribed'
        GROUP BY list_id, organisation_id;
    ELSE
        INSERT INTO list_counts (list_id, organisation_id, contacts)
        SELECT list_id, organisation_id, sum(change)
        FROM (
            SELECT list_id, organisation_id, 1 AS change FROM added WHERE status = 'subscribed'
            UNION ALL
            SELECT list_id, organisation_id, -1 FROM removed WHERE status = 'subscribed'
        ) AS changes
        GROUP BY list_id, organisation_id
        HAVING sum(change) <> 0;
    END IF;
    RETURN NULL;
END
$$
"""
_TABLES = {"INSERT": "NEW TABLE AS added", "DELETE": "OLD TABLE AS removed"}
_TABLES["UPDATE"] = f"{_TABLES['INSERT']} {_TABLES['DELETE']}"


def upgrade() -> None:
    op.create_table(
        "list_counts",
        sa.Column("list_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("organisation_id", sa.Uuid(), nullable=False),
        sa.Column("contacts", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("list_id", "id", name=op.f("pk_list_counts")),
    )
    op.execute(_COUNT)
    # This keeps writers away until the end of the migration.
    for operation, tables in _TABLES.items():
        op.execute(
            f"CREATE TRIGGER count_{operation.lower()} AFTER {operation} ON subscriptions "
            f"REFERENCING {tables} FOR EACH STATEMENT EXECUTE FUNCTION count_subscriptions()"
        )
    op.execute(
        "INSERT INTO list_counts (list_id, organisation_id, contacts) "
        "SELECT list_id, organisation_id, count(*) FROM subscriptions WHERE status = 'subscribed' "
        "GROUP BY list_id, organisation_id"
    )
    op.drop_constraint(op.f("pk_subscription_changes"), "subscription_changes", type_="primary")
    op.drop_index(op.f("ix_subscription_changes_contact_id_id"), table_name="subscription_changes")
    op.create_primary_key(op.f("pk_subscription_changes"), "subscription_changes", ["contact_id", "id"])
    op.alter_column("subscription_changes", "id", server_default=sa.text("uuidv7()"))


def downgrade() -> None:
    op.alter_column("subscription_changes", "id", server_default=None)
    op.drop_constraint(op.f("pk_subscription_changes"), "subscription_changes", type_="primary")
    op.create_index(
        op.f("ix_subscription_changes_contact_id_id"), "subscription_changes", ["contact_id", "id"], unique=False
    )
    op.create_primary_key(op.f("pk_subscription_changes"), "subscription_changes", ["id"])
    for operation in _TABLES:
        op.execute(f"DROP TRIGGER count_{operation.lower()} ON subscriptions")
    op.execute("DROP FUNCTION count_subscriptions()")
    op.drop_table("list_counts")
