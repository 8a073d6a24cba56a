"""What all tables belong to."""

from __future__ import annotations

from posthorn_common.db import new_metadata

metadata = new_metadata()
