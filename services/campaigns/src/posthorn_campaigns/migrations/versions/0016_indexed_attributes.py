"""Indexed attributes: contact_attribute_values, kept by triggers, and dropped_attribute_indexes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# The value as it is indexed, null if it is of another type than the declared one; long texts by their beginning.
_TEXT = """
CREATE FUNCTION indexed_text(declared_type text, value jsonb) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN declared_type = 'number' THEN NULL
        WHEN jsonb_typeof(value) = CASE declared_type WHEN 'boolean' THEN 'boolean' ELSE 'string' END
            THEN left(value #>> '{}', 100)
    END
$$
"""
_NUMBER = """
CREATE FUNCTION indexed_number(declared_type text, value jsonb) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE
        WHEN declared_type = 'number' AND jsonb_typeof(value) = 'number' THEN CAST(value AS double precision)
    END
$$
"""
# One step for each of the few indexed attributes of the organisations that a statement has changed contacts of.
_KEEP = """
CREATE FUNCTION keep_attribute_indexes() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    declared record;
BEGIN
    FOR declared IN
        SELECT organisation_id, key, type, index_id FROM contact_attributes
        WHERE index_id IS NOT NULL
            AND organisation_id = ANY (ARRAY (SELECT DISTINCT organisation_id FROM written))
    LOOP
        IF TG_OP = 'INSERT' THEN
            INSERT INTO contact_attribute_values (contact_id, index_id, text_value, number_value)
            SELECT id, declared.index_id, text_value, number_value
            FROM (
                SELECT id, indexed_text(declared.type, attributes -> declared.key) AS text_value,
                    indexed_number(declared.type, attributes -> declared.key) AS number_value
                FROM written WHERE organisation_id = declared.organisation_id
            ) AS given
            WHERE text_value IS NOT NULL OR number_value IS NOT NULL;
        ELSE
            DELETE FROM contact_attribute_values AS known USING written
            WHERE known.contact_id = written.id AND known.index_id = declared.index_id
                AND indexed_text(declared.type, written.attributes -> declared.key) IS NULL
                AND indexed_number(declared.type, written.attributes -> declared.key) IS NULL;
            INSERT INTO contact_attribute_values AS known (contact_id, index_id, text_value, number_value)
            SELECT id, declared.index_id, text_value, number_value
            FROM (
                SELECT id, indexed_text(declared.type, attributes -> declared.key) AS text_value,
                    indexed_number(declared.type, attributes -> declared.key) AS number_value
                FROM written WHERE organisation_id = declared.organisation_id
            ) AS given
            WHERE text_value IS NOT NULL OR number_value IS NOT NULL
            ORDER BY id
            ON CONFLICT (contact_id, index_id) DO UPDATE
                SET text_value = EXCLUDED.text_value, number_value = EXCLUDED.number_value
                WHERE (known.text_value, known.number_value)
                    IS DISTINCT FROM (EXCLUDED.text_value, EXCLUDED.number_value);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$
"""
_FORGET = """
CREATE FUNCTION forget_attribute_values() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    DELETE FROM contact_attribute_values AS known USING removed WHERE known.contact_id = removed.id;
    RETURN NULL;
END
$$
"""
_TRIGGERS = {
    "keep_added_attributes": ("INSERT", "NEW TABLE AS written", "keep_attribute_indexes"),
    "keep_changed_attributes": ("UPDATE", "NEW TABLE AS written", "keep_attribute_indexes"),
    "forget_attributes": ("DELETE", "OLD TABLE AS removed", "forget_attribute_values"),
}


def upgrade() -> None:
    op.add_column("contact_attributes", sa.Column("index_id", sa.Uuid(), nullable=True))
    op.add_column("contact_attributes", sa.Column("fill_from", sa.BigInteger(), nullable=True))
    op.add_column("contact_attributes", sa.Column("filled_to", sa.Uuid(), nullable=True))
    op.add_column(
        "contact_attributes", sa.Column("index_ready", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    op.create_table(
        "contact_attribute_values",
        sa.Column("contact_id", sa.Uuid(), nullable=False),
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("text_value", sa.Text(collation="C"), nullable=True),
        sa.Column("number_value", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("contact_id", "index_id", name=op.f("pk_contact_attribute_values")),
    )
    for column in ("text_value", "number_value"):
        op.create_index(
            f"ix_contact_attribute_values_{column}",
            "contact_attribute_values",
            ["index_id", column, "contact_id"],
            unique=False,
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
        )
    op.create_table(
        "dropped_attribute_indexes",
        sa.Column("index_id", sa.Uuid(), nullable=False),
        sa.Column("dropped_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("index_id", name=op.f("pk_dropped_attribute_indexes")),
    )
    for function in (_TEXT, _NUMBER, _KEEP, _FORGET):
        op.execute(function)
    for name, (operation, table, function) in _TRIGGERS.items():
        op.execute(
            f"CREATE TRIGGER {name} AFTER {operation} ON contacts REFERENCING {table} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
        )


def downgrade() -> None:
    for name in _TRIGGERS:
        op.execute(f"DROP TRIGGER {name} ON contacts")
    for function in ("keep_attribute_indexes()", "forget_attribute_values()"):
        op.execute(f"DROP FUNCTION {function}")
    for function in ("indexed_text", "indexed_number"):
        op.execute(f"DROP FUNCTION {function}(text, jsonb)")
    op.drop_table("dropped_attribute_indexes")
    op.drop_table("contact_attribute_values")
    for column in ("index_ready", "filled_to", "fill_from", "index_id"):
        op.drop_column("contact_attributes", column)
