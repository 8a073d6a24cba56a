from posthorn_analytics.adapters.db.tables import metadata
from posthorn_common.migrations import run_environment

run_environment(metadata)
