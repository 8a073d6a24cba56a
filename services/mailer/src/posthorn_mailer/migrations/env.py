from posthorn_common.migrations import run_environment
from posthorn_mailer.adapters.db.tables import metadata

run_environment(metadata)
