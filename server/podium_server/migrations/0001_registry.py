"""The registry's tables, its two lifecycles and its head row.

Until the first release the tables are made from their declaration; from then on a migration never imports them.
"""

import os
import uuid
from typing import Any

from podium_server.tables import TABLES

STAGES = (
    ("development", True, ""),
    ("staging", True, ""),
    ("production", True, ""),
    ("archived", True, "archived: it was taken out of use"),
    ("deprecated", False, "deprecated: it must no longer serve"),
)
NAMES = [name for name, _, _ in STAGES]
DEFAULT_MOVES = [
    ("", "development"), ("development", "staging"), ("staging", "production"),
    ("staging", "development"), ("production", "staging"),
    ("archived", "development"), ("archived", "staging"), ("archived", "deprecated"),
    *((name, "archived") for name in ["", *NAMES] if name != "archived"),
]  # fmt: skip


def up(migrator: object, db: Any) -> None:
    db.create_tables(TABLES, safe=False)
    for lifecycle in ("default", "permissive"):
        run(db, "lifecycle", lifecycle, "development", "archived")
        for place, (name, servable, warning) in enumerate(STAGES):
            run(db, "lifecycle_stage", lifecycle, name, place, servable, warning)
    for left, entered in DEFAULT_MOVES:
        run(db, "lifecycle_transition", "default", left, entered, False)
    run(db, "lifecycle_transition", "default", "archived", "production", True)
    for left in ["", *NAMES]:
        for entered in NAMES:
            if left != entered:
                run(db, "lifecycle_transition", "permissive", left, entered, False)
    origin = os.urandom(8)
    run(db, "head", 1, uuid.uuid4().hex, origin, 0, origin, 0)


def run(db: Any, table: str, *values: object) -> None:
    marks = ", ".join([db.param] * len(values))
    db.execute_sql(f"INSERT INTO {table} VALUES ({marks})", values)
