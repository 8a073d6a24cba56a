"""Golden JSON Schemas of all events: `python -m posthorn_contracts.schemas [--check]`.

Without an option the files under `libs/contracts/schemas` are written anew; with `--check` nothing is written and
the exit status is 1 if a file differs from the models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from posthorn_contracts.registry import EVENTS

FOLDER = Path(__file__).parents[2] / "schemas"


def current_schemas() -> dict[str, str]:
    """Return the text of each schema file by file name."""
    return {
        f"{event_type}.json": json.dumps(event.model_json_schema(), indent=2, sort_keys=True) + "\n"
        for event_type, event in EVENTS.items()
    }


def outdated(folder: Path = FOLDER) -> list[str]:
    """Return the names of schema files that are missing, superfluous or different from the models."""
    wanted = current_schemas()
    stored = {path.name: path.read_text() for path in folder.glob("*.json")}
    return sorted(name for name in wanted.keys() | stored.keys() if wanted.get(name) != stored.get(name))


def write(folder: Path = FOLDER) -> None:
    """Write all schema files and remove those of events that no longer exist."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = current_schemas()
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink()
    for name, text in wanted.items():
        (folder / name).write_text(text)


def main() -> int:
    """Run from the command line."""
    if "--check" in sys.argv[1:]:
        names = outdated()
        for name in names:
            sys.stderr.write(f"schema {name} is not current: run `make schemas`\n")
        return 1 if names else 0
    write()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
