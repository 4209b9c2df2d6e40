"""The tables. Enums and checks are built from the rules' own tables.

Integer keys inside, UUIDs outside: edges are by far the most rows. Large texts (args, results) live
apart from the rows that every report touches. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

from broker_queue.job import FINAL_STATES, Condition, State
from scheduler.rules.lifecycle import Dispatch

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _one_of(column: str, values: Iterable[str]) -> str:
    listed = ", ".join(f"'{value}'" for value in values)
    return f"{column} IN ({listed})"


# Indexes and queries share these very terms: SQLite uses a partial index only where it finds them.
IN_LINE = text(f"state = '{State.QUEUED}' AND dispatch = {int(Dispatch.NONE)}")
PUBLISHING = text(f"dispatch = {int(Dispatch.PUBLISHING)}")
HELD = text(f"(dispatch = {int(Dispatch.PUBLISHED)} OR state = '{State.RUNNING}')")
LYING = text(f"state = '{State.CANCELED}' AND dispatch != {int(Dispatch.NONE)}")
_DUE = text("due_at IS NOT NULL")
_IN_GRAPH = text("graph_key IS NOT NULL")
TROUBLE_STATES = frozenset({State.FAILED, State.SKIPPED, State.CANCELED})
TROUBLE = text(_one_of("state", sorted(TROUBLE_STATES)))


Key = BigInteger().with_variant(Integer(), "sqlite")  # SQLite: only INTEGER is the row id itself

setting = Table(
    "setting",
    metadata,
    Column("name", String(50), primary_key=True),
    Column("value", LargeBinary, nullable=False),
    comment="Facts about this database: the secret of its tokens, its id.",
)

leader = Table(
    "leader",
    metadata,
    Column("key", Integer, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    CheckConstraint("key = 1", name="one_row"),
    comment="Which scheduler is the active one; every transaction checks the epoch.",
)

graph = Table(
    "graph",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", LargeBinary(16), nullable=False, unique=True),
    Column("name", Text),
    Column("queued_at", BigInteger, nullable=False),
)

queue = Table(
    "queue",
    metadata,
    Column("key", Key, primary_key=True),
    Column("type", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("handed_out", Integer, nullable=False, server_default="0"),
    CheckConstraint("handed_out >= 0", name="handed_out"),
    Index("ix_queue_type", "type", "channel", unique=True),
    comment="One for each job queue; handed_out counts the jobs whose dispatch is not 0.",
)

job = Table(
    "job",
    metadata,
    Column("key", Key, primary_key=True),
    Column("id", LargeBinary(16), nullable=False, unique=True),
    Column("graph_key", ForeignKey("graph.key")),
    Column("queue_key", ForeignKey("queue.key")),
    Column("name", Text),
    Column("state", String(9), nullable=False),
    Column("dispatch", Integer, nullable=False),
    Column("pending", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("handover", Integer, nullable=False),
    Column("max_attempts", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("timeout", BigInteger),
    Column("backoff", Text),
    Column("available_at", BigInteger),
    Column("due_at", BigInteger),
    Column("leased_until", BigInteger),
    Column("losses", Integer, nullable=False, server_default="0"),
    Column("queued_at", BigInteger, nullable=False),
    Column("ready_at", BigInteger),
    Column("started_at", BigInteger),
    Column("finished_at", BigInteger),
    Column("worker", Text),
    Column("dependency_count", Integer, nullable=False),
    Column("reference_count", Integer, nullable=False),
    Column("cause_key", Key),
    Column("retry_of_key", Key),
    Column("retried_as_key", Key),
    Column("digest", LargeBinary(16), nullable=False),
    Column("traceparent", Text),
    CheckConstraint(_one_of("state", State), name="state"),
    CheckConstraint(f"dispatch BETWEEN 0 AND {max(Dispatch)}", name="dispatch"),
    CheckConstraint(
        f"({_one_of('state', sorted(FINAL_STATES))}) = (finished_at IS NOT NULL)", name="final"
    ),
    CheckConstraint(
        f"state = '{State.WAITING}' OR pending = 0 OR finished_at IS NOT NULL", name="pending"
    ),
    CheckConstraint(
        f"dispatch = 0 OR {_one_of('state', (State.QUEUED, State.CANCELED))}",
        name="dispatched_states",
    ),
    CheckConstraint(f"state != '{State.SCHEDULED}' OR due_at IS NOT NULL", name="scheduled"),
    CheckConstraint(f"leased_until IS NULL OR state = '{State.RUNNING}'", name="leased"),
    CheckConstraint(f"state != '{State.SKIPPED}' OR cause_key IS NOT NULL", name="skipped"),
    sqlite_autoincrement=False,
)

Index(
    "ix_job_in_line",
    job.c.queue_key,
    job.c.priority.desc(),
    job.c.key,
    sqlite_where=IN_LINE,
    postgresql_where=IN_LINE,
)
Index(
    "ix_job_publishing",
    job.c.key,
    sqlite_where=PUBLISHING,
    postgresql_where=PUBLISHING,
)
Index(
    "ix_job_canceled_in_queue",
    job.c.queue_key,
    sqlite_where=LYING,
    postgresql_where=LYING,
)
Index(
    "ix_job_held",
    job.c.queue_key,
    sqlite_where=HELD,
    postgresql_where=HELD,
)
Index(
    "ix_job_due",
    job.c.due_at,
    sqlite_where=_DUE,
    postgresql_where=_DUE,
)
Index(
    "ix_job_graph",
    job.c.graph_key,
    job.c.key,
    sqlite_where=_IN_GRAPH,
    postgresql_where=_IN_GRAPH,
)
Index(
    "ix_job_trouble",
    job.c.state,
    job.c.key,
    sqlite_where=TROUBLE,
    postgresql_where=TROUBLE,
)

args = Table(
    "args",
    metadata,
    Column("job_key", ForeignKey("job.key"), primary_key=True),
    Column("text", LargeBinary, nullable=False),
    comment="JSON as it was sent; left out when it is null.",
)

outcome = Table(
    "outcome",
    metadata,
    Column("job_key", ForeignKey("job.key"), primary_key=True),
    Column("result", LargeBinary),
    Column("error", LargeBinary),
    comment="Result of a finished job; last error of a failed one or one that is tried again.",
)

progress = Table(
    "progress",
    metadata,
    Column("job_key", ForeignKey("job.key"), primary_key=True),
    Column("text", LargeBinary, nullable=False),
)

edge = Table(
    "edge",
    metadata,
    Column("child_key", ForeignKey("job.key"), primary_key=True),
    Column("parent_key", ForeignKey("job.key"), primary_key=True),
    Column("position", Integer, nullable=False),
    Column("condition", String(7), nullable=False),
    CheckConstraint("child_key != parent_key", name="self"),
    CheckConstraint(_one_of("condition", Condition), name="condition"),
    Index("ix_edge_parent", "parent_key", "child_key"),
    sqlite_with_rowid=False,
    comment="The child depends on the parent.",
)

reference = Table(
    "reference",
    metadata,
    Column("child_key", ForeignKey("job.key"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("parent_key", ForeignKey("job.key"), nullable=False),
    Column("place", Text, nullable=False),
    Column("pointer", Text, nullable=False),
    sqlite_with_rowid=False,
    comment="Part of the parent's result that goes into the child's args.",
)

frontier = Table(
    "frontier",
    metadata,
    Column("parent_key", ForeignKey("job.key"), primary_key=True),
    Column("after_child_key", Key, nullable=False),
    comment="Jobs that ended and whose dependents after this key are still to be told.",
)

part = Table(
    "part",
    metadata,
    Column("graph_id", LargeBinary(16), primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("parts", Integer, nullable=False),
    Column("received_at", BigInteger, nullable=False),  # before the body, which is not to be read
    Column("body", LargeBinary, nullable=False),
    comment="Parts of submits that are not complete yet.",
)
