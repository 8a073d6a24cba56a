"""Doorbells through the job queue."""

from __future__ import annotations

from uuid import UUID

from posthorn_common.jobs import JobQueue


class QueueExportBell:
    """See the port ExportBell."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def ring(self, export_id: UUID, lease_epoch: int) -> None:
        """Wake a worker; see QueueImportBell.ring."""
        await self._queue.announce(f"{export_id}-{lease_epoch}", "export_contacts", {"export_id": str(export_id)})


class QueueImportBell:
    """See the port ImportBell."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def ring(self, import_id: UUID, lease_epoch: int) -> None:
        """Wake a worker. After each lease the job has another id: the one at work before is never in the way."""
        await self._queue.announce(f"{import_id}-{lease_epoch}", "import_contacts", {"import_id": str(import_id)})
