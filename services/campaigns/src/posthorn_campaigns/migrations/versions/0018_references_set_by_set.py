"""What subscriptions and their history refer to is checked once for each statement, no more once for each row."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# As a foreign key does: what is referred to is there, and stays until the transaction ends.
_CHECK = """
CREATE FUNCTION check_subscriptions() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
    wanted bigint;
    found bigint;
BEGIN
    SELECT count(DISTINCT list_id) INTO wanted FROM added;
    SELECT count(*) INTO found FROM (
        SELECT FROM lists WHERE id IN (SELECT list_id FROM added) ORDER BY id FOR KEY SHARE
    ) AS locked;
    IF found < wanted THEN
        RAISE foreign_key_violation USING MESSAGE = 'a subscription refers to a list that does not exist';
    END IF;
    SELECT count(DISTINCT contact_id) INTO wanted FROM added;
    SELECT count(*) INTO found FROM (
        SELECT FROM contacts WHERE id IN (SELECT contact_id FROM added) ORDER BY id FOR KEY SHARE
    ) AS locked;
    IF found < wanted THEN
        RAISE foreign_key_violation USING MESSAGE = 'a subscription refers to a contact that does not exist';
    END IF;
    RETURN NULL;
END
$$
"""
# As ON DELETE CASCADE does. Subscriptions first: whoever is changing one adds to its history before it lets go of it.
_FORGET = """
CREATE FUNCTION forget_subscriptions() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF TG_TABLE_NAME = 'lists' THEN
        DELETE FROM subscriptions AS known USING removed WHERE known.list_id = removed.id;
        DELETE FROM subscription_changes AS known USING removed WHERE known.list_id = removed.id;
    ELSE
        DELETE FROM subscriptions AS known USING removed WHERE known.contact_id = removed.id;
        DELETE FROM subscription_changes AS known USING removed WHERE known.contact_id = removed.id;
    END IF;
    RETURN NULL;
END
$$
"""
# Their plans are kept: one that is made for very many rows must not read a whole table for one.
_LOOKING_UP = ("check_subscriptions", "forget_subscriptions", "keep_attribute_indexes", "forget_attribute_values")
_OFF = ("enable_seqscan", "enable_hashjoin", "enable_mergejoin")


def upgrade() -> None:
    op.execute(_CHECK)
    op.execute(_FORGET)
    for function in _LOOKING_UP:
        for option in _OFF:
            op.execute(f"ALTER FUNCTION {function}() SET {option} TO off")
    op.execute(
        "CREATE TRIGGER check_references AFTER INSERT ON subscriptions REFERENCING NEW TABLE AS added "
        "FOR EACH STATEMENT EXECUTE FUNCTION check_subscriptions()"
    )
    for table in ("lists", "contacts"):
        op.execute(
            f"CREATE TRIGGER forget_subscriptions AFTER DELETE ON {table} REFERENCING OLD TABLE AS removed "
            "FOR EACH STATEMENT EXECUTE FUNCTION forget_subscriptions()"
        )
        for child in ("subscriptions", "subscription_changes"):
            op.drop_constraint(op.f(f"fk_{child}_{table[:-1]}_id_{table}"), child, type_="foreignkey")


def downgrade() -> None:
    for table in ("lists", "contacts"):
        for child in ("subscriptions", "subscription_changes"):
            op.create_foreign_key(
                op.f(f"fk_{child}_{table[:-1]}_id_{table}"),
                child,
                table,
                [f"{table[:-1]}_id"],
                ["id"],
                ondelete="CASCADE",
            )
        op.execute(f"DROP TRIGGER forget_subscriptions ON {table}")
    op.execute("DROP TRIGGER check_references ON subscriptions")
    for function in _LOOKING_UP[:2]:
        op.execute(f"DROP FUNCTION {function}()")
    for function in _LOOKING_UP[2:]:
        for option in _OFF:
            op.execute(f"ALTER FUNCTION {function}() RESET {option}")
