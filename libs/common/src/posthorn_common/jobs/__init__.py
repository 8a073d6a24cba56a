"""Jobs through Redis: doorbells that wake a worker, with no authority of their own.

What is to be done, and whether it is done already, PostgreSQL knows. Losing a job, or getting it twice, changes only
when a worker looks; `docs/adr/0002-redis-jobs-are-doorbells.md` says why.
"""

from posthorn_common.jobs.bull import BullJobQueue, WorkerEnded
from posthorn_common.jobs.ports import JobCounts, JobHandler, JobQueue, ReceivedJob
from posthorn_common.jobs.server import UnsafeRedis, check_redis, watch_redis

__all__ = [
    "BullJobQueue",
    "JobCounts",
    "JobHandler",
    "JobQueue",
    "ReceivedJob",
    "UnsafeRedis",
    "WorkerEnded",
    "check_redis",
    "watch_redis",
]
