"""Where things are. The package is part of a checkout (installed editable) and works on it."""

from __future__ import annotations

from pathlib import Path

REPOSITORY = Path(__file__).parents[4]
STATE = REPOSITORY / ".posthorn"
"""Everything the local stack and the test servers write; git-ignored."""

PROVISION_SQL = REPOSITORY / "deploy" / "sql" / "provision.sql"
