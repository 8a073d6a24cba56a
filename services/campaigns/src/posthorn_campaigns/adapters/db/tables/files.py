"""Work on files in the background, and erasures."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

from posthorn_campaigns.adapters.db.tables.contacts import contacts
from posthorn_campaigns.adapters.db.tables.shared import metadata

_time = sa.DateTime(timezone=True)

imports = sa.Table(
    "imports",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    # No foreign key: an import whose list has been deleted must know that it had one.
    sa.Column("list_id", sa.Uuid),
    sa.Column("mode", sa.Text, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    # Why those who have unsubscribed or bounced may be brought back; null: they may not.
    sa.Column("lift_reason", sa.Text),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("encoding", sa.Text, nullable=False),
    sa.Column("delimiter", sa.Text, nullable=False),
    sa.Column("columns", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("mapping", JSONB, nullable=False),
    *(
        sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
        for name in ("bytes_total", "bytes_read", "rows_read", "created", "updated", "unchanged", "rejected", "lifted")
    ),
    sa.Column("failure_code", sa.Text),
    sa.Column("failure_message", sa.Text),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("fruitless_leases", sa.Integer, nullable=False, server_default="0"),
    # Until when a worker has it; while the file comes in, until when the upload counts as alive.
    sa.Column("lease_until", _time),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("started_at", _time),
    sa.Column("finished_at", _time),
    sa.CheckConstraint(
        "status IN ('uploading', 'pending', 'running', 'completed', 'failed', 'cancelled')", name="status"
    ),
    sa.CheckConstraint("kind IN ('csv', 'ndjson')", name="kind"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_imports_open", "status", postgresql_where=sa.text("status IN ('uploading', 'pending', 'running')")),
)

# The uploaded file, in pieces of one size, until the import ends: any worker can read it from anywhere.
import_pieces = sa.Table(
    "import_pieces",
    metadata,
    sa.Column("import_id", sa.ForeignKey(imports.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

rejected_rows = sa.Table(
    "rejected_rows",
    metadata,
    sa.Column("import_id", sa.ForeignKey(imports.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("row", sa.BigInteger, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("column_name", sa.Text, nullable=False),
    sa.Column("code", sa.Text, nullable=False),
    sa.Column("message", sa.Text, nullable=False),
)

exports = sa.Table(
    "exports",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("kind", sa.Text, nullable=False),
    # No foreign keys: an export whose list has been deleted must know that it had one.
    sa.Column("list_id", sa.Uuid),
    sa.Column("segment_id", sa.Uuid),
    sa.Column("columns", sa.ARRAY(sa.Text), nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", _time, nullable=False),
    sa.Column("expires_at", _time, nullable=False, index=True),
    sa.Column("after", sa.Uuid),
    sa.Column("contacts", sa.BigInteger, nullable=False),
    sa.Column("bytes_total", sa.BigInteger, nullable=False),
    sa.Column("pieces", sa.Integer, nullable=False),
    sa.Column("failure_code", sa.Text),
    sa.Column("finished_at", _time),
    sa.Column("lease_epoch", sa.BigInteger, nullable=False),
    sa.Column("lease_until", _time),
    sa.CheckConstraint("kind IN ('csv', 'ndjson')", name="kind"),
    sa.CheckConstraint("status IN ('pending', 'running', 'completed', 'failed')", name="status"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_exports_open", "status", postgresql_where=sa.text("status IN ('pending', 'running')")),
)

# The file, in pieces of bounded size, until the export expires.
export_pieces = sa.Table(
    "export_pieces",
    metadata,
    sa.Column("export_id", sa.ForeignKey(exports.c.id, ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

# Requests for all that is known of a contact, with the archive once it is gathered. `attempts` fences.
access_requests = sa.Table(
    "access_requests",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.ForeignKey(contacts.c.id, ondelete="CASCADE"), nullable=False, index=True),
    sa.Column("requested_by_kind", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Uuid, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default="0"),
    sa.Column("next_attempt_at", _time, server_default=sa.func.now()),
    sa.Column("waits_for", sa.Text),
    sa.Column("archive", sa.LargeBinary),
    sa.Column("bytes_total", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("created_at", _time, nullable=False, server_default=sa.func.now()),
    sa.Column("completed_at", _time),
    sa.Column("expires_at", _time, nullable=False, index=True),
    sa.CheckConstraint("state IN ('pending', 'completed')", name="state"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index("ix_access_requests_due", "next_attempt_at", postgresql_where=sa.text("state = 'pending'")),
)

# Whom an organisation has erased. The address stays until every service has confirmed, then a keyed hash of it.
# `published_at` is when the services were last asked.
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("organisation_id", sa.Uuid, nullable=False),
    sa.Column("contact_id", sa.Uuid, nullable=False),
    sa.Column("email", sa.Text),
    sa.Column("email_hash", sa.LargeBinary, nullable=False),
    sa.Column("requested_by_kind", sa.Text, nullable=False),
    sa.Column("requested_by", sa.Uuid, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("state", sa.Text, nullable=False),
    sa.Column("confirmations", JSONB, nullable=False, server_default="{}"),
    sa.Column("requested_at", _time, nullable=False, server_default=sa.func.now()),
    sa.Column("published_at", _time, nullable=False, server_default=sa.func.now()),
    sa.Column("completed_at", _time),
    sa.CheckConstraint("state IN ('running', 'completed')", name="state"),
    sa.CheckConstraint("state = 'running' OR email IS NULL", name="address_forgotten"),
    sa.Index(None, "organisation_id", "id"),
    sa.Index(None, "organisation_id", "email_hash"),
    sa.Index("ix_erasures_running", "published_at", postgresql_where=sa.text("state = 'running'")),
)
