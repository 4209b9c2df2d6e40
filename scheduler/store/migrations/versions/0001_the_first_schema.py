"""The first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "graph",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_graph")),
        sa.UniqueConstraint("id", name=op.f("uq_graph_id")),
    )
    op.create_table(
        "leader",
        sa.Column("key", sa.Integer(), nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("key = 1", name=op.f("ck_leader_one_row")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_leader")),
        comment="Which scheduler is the active one; every transaction checks the epoch.",
    )
    op.create_table(
        "part",
        sa.Column("graph_id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("graph_id", "part", name=op.f("pk_part")),
        comment="Parts of submits that are not complete yet.",
    )
    op.create_table(
        "queue",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("handed_out", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("handed_out >= 0", name=op.f("ck_queue_handed_out")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_queue")),
        comment="One for each job queue; handed_out counts the jobs whose dispatch is not 0.",
    )
    with op.batch_alter_table("queue", schema=None) as batch_op:
        batch_op.create_index("ix_queue_type", ["type", "channel"], unique=True)

    op.create_table(
        "setting",
        sa.Column("name", sa.String(length=50), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_setting")),
        comment="Facts about this database: the secret of its tokens, its id.",
    )
    op.create_table(
        "job",
        sa.Column("key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("id", sa.LargeBinary(length=16), nullable=False),
        sa.Column("graph_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("queue_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("state", sa.String(length=9), nullable=False),
        sa.Column("dispatch", sa.Integer(), nullable=False),
        sa.Column("pending", sa.Integer(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("handover", sa.Integer(), nullable=False),
        sa.Column("max_attempts", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("timeout", sa.BigInteger(), nullable=True),
        sa.Column("backoff", sa.Text(), nullable=True),
        sa.Column("available_at", sa.BigInteger(), nullable=True),
        sa.Column("due_at", sa.BigInteger(), nullable=True),
        sa.Column("leased_until", sa.BigInteger(), nullable=True),
        sa.Column("losses", sa.Integer(), server_default="0", nullable=False),
        sa.Column("queued_at", sa.BigInteger(), nullable=False),
        sa.Column("ready_at", sa.BigInteger(), nullable=True),
        sa.Column("started_at", sa.BigInteger(), nullable=True),
        sa.Column("finished_at", sa.BigInteger(), nullable=True),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("dependency_count", sa.Integer(), nullable=False),
        sa.Column("reference_count", sa.Integer(), nullable=False),
        sa.Column("cause_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True),
        sa.Column(
            "retry_of_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column(
            "retried_as_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.Column("digest", sa.LargeBinary(length=16), nullable=False),
        sa.Column("traceparent", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(state IN ('canceled', 'failed', 'finished', 'skipped')) = (finished_at IS NOT NULL)",
            name=op.f("ck_job_final"),
        ),
        sa.CheckConstraint(
            "dispatch = 0 OR state IN ('queued', 'canceled')", name=op.f("ck_job_dispatched_states")
        ),
        sa.CheckConstraint(
            "state != 'scheduled' OR due_at IS NOT NULL", name=op.f("ck_job_scheduled")
        ),
        sa.CheckConstraint("leased_until IS NULL OR state = 'running'", name=op.f("ck_job_leased")),
        sa.CheckConstraint(
            "state != 'skipped' OR cause_key IS NOT NULL", name=op.f("ck_job_skipped")
        ),
        sa.CheckConstraint(
            "state = 'waiting' OR pending = 0 OR finished_at IS NOT NULL",
            name=op.f("ck_job_pending"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'scheduled', 'queued', 'running', 'finished', 'failed', 'skipped', 'canceled')",
            name=op.f("ck_job_state"),
        ),
        sa.CheckConstraint("dispatch BETWEEN 0 AND 2", name=op.f("ck_job_dispatch")),
        sa.ForeignKeyConstraint(["graph_key"], ["graph.key"], name=op.f("fk_job_graph_key")),
        sa.ForeignKeyConstraint(["queue_key"], ["queue.key"], name=op.f("fk_job_queue_key")),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_job")),
        sa.UniqueConstraint("id", name=op.f("uq_job_id")),
        sqlite_autoincrement=False,
    )
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.create_index(
            "ix_job_canceled_in_queue",
            ["queue_key"],
            unique=False,
            sqlite_where=sa.text("state = 'canceled' AND dispatch != 0"),
            postgresql_where=sa.text("state = 'canceled' AND dispatch != 0"),
        )
        batch_op.create_index(
            "ix_job_due",
            ["due_at"],
            unique=False,
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_job_graph",
            ["graph_key", "key"],
            unique=False,
            sqlite_where=sa.text("graph_key IS NOT NULL"),
            postgresql_where=sa.text("graph_key IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_job_held",
            ["queue_key"],
            unique=False,
            sqlite_where=sa.text("(dispatch = 2 OR state = 'running')"),
            postgresql_where=sa.text("(dispatch = 2 OR state = 'running')"),
        )
        batch_op.create_index(
            "ix_job_in_line",
            ["queue_key", sa.literal_column("priority DESC"), "key"],
            unique=False,
            sqlite_where=sa.text("state = 'queued' AND dispatch = 0"),
            postgresql_where=sa.text("state = 'queued' AND dispatch = 0"),
        )
        batch_op.create_index(
            "ix_job_publishing",
            ["key"],
            unique=False,
            sqlite_where=sa.text("dispatch = 1"),
            postgresql_where=sa.text("dispatch = 1"),
        )
        batch_op.create_index(
            "ix_job_trouble",
            ["state", "key"],
            unique=False,
            sqlite_where=sa.text("state IN ('canceled', 'failed', 'skipped')"),
            postgresql_where=sa.text("state IN ('canceled', 'failed', 'skipped')"),
        )

    op.create_table(
        "args",
        sa.Column("job_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["job.key"], name=op.f("fk_args_job_key")),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_args")),
        comment="JSON as it was sent; left out when it is null.",
    )
    op.create_table(
        "edge",
        sa.Column(
            "child_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "parent_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("condition", sa.String(length=7), nullable=False),
        sa.CheckConstraint(
            "condition IN ('success', 'failure', 'any')", name=op.f("ck_edge_condition")
        ),
        sa.CheckConstraint("child_key != parent_key", name=op.f("ck_edge_self")),
        sa.ForeignKeyConstraint(["child_key"], ["job.key"], name=op.f("fk_edge_child_key")),
        sa.ForeignKeyConstraint(["parent_key"], ["job.key"], name=op.f("fk_edge_parent_key")),
        sa.PrimaryKeyConstraint("child_key", "parent_key", name=op.f("pk_edge")),
        comment="The child depends on the parent.",
        sqlite_with_rowid=False,
    )
    with op.batch_alter_table("edge", schema=None) as batch_op:
        batch_op.create_index("ix_edge_parent", ["parent_key", "child_key"], unique=False)

    op.create_table(
        "frontier",
        sa.Column(
            "parent_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column(
            "after_child_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.ForeignKeyConstraint(["parent_key"], ["job.key"], name=op.f("fk_frontier_parent_key")),
        sa.PrimaryKeyConstraint("parent_key", name=op.f("pk_frontier")),
        comment="Jobs that ended and whose dependents after this key are still to be told.",
    )
    op.create_table(
        "outcome",
        sa.Column("job_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("result", sa.LargeBinary(), nullable=True),
        sa.Column("error", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["job_key"], ["job.key"], name=op.f("fk_outcome_job_key")),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_outcome")),
        comment="Result of a finished job; last error of a failed one or one that is tried again.",
    )
    op.create_table(
        "progress",
        sa.Column("job_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("text", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["job_key"], ["job.key"], name=op.f("fk_progress_job_key")),
        sa.PrimaryKeyConstraint("job_key", name=op.f("pk_progress")),
    )
    op.create_table(
        "reference",
        sa.Column(
            "child_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column(
            "parent_key", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False
        ),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("pointer", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["child_key"], ["job.key"], name=op.f("fk_reference_child_key")),
        sa.ForeignKeyConstraint(["parent_key"], ["job.key"], name=op.f("fk_reference_parent_key")),
        sa.PrimaryKeyConstraint("child_key", "position", name=op.f("pk_reference")),
        comment="Part of the parent's result that goes into the child's args.",
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    op.drop_table("reference")
    op.drop_table("progress")
    op.drop_table("outcome")
    op.drop_table("frontier")
    with op.batch_alter_table("edge", schema=None) as batch_op:
        batch_op.drop_index("ix_edge_parent")

    op.drop_table("edge")
    op.drop_table("args")
    with op.batch_alter_table("job", schema=None) as batch_op:
        batch_op.drop_index(
            "ix_job_trouble",
            sqlite_where=sa.text("state IN ('canceled', 'failed', 'skipped')"),
            postgresql_where=sa.text("state IN ('canceled', 'failed', 'skipped')"),
        )
        batch_op.drop_index(
            "ix_job_publishing",
            sqlite_where=sa.text("dispatch = 1"),
            postgresql_where=sa.text("dispatch = 1"),
        )
        batch_op.drop_index(
            "ix_job_in_line",
            sqlite_where=sa.text("state = 'queued' AND dispatch = 0"),
            postgresql_where=sa.text("state = 'queued' AND dispatch = 0"),
        )
        batch_op.drop_index(
            "ix_job_held",
            sqlite_where=sa.text("(dispatch = 2 OR state = 'running')"),
            postgresql_where=sa.text("(dispatch = 2 OR state = 'running')"),
        )
        batch_op.drop_index(
            "ix_job_graph",
            sqlite_where=sa.text("graph_key IS NOT NULL"),
            postgresql_where=sa.text("graph_key IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_job_due",
            sqlite_where=sa.text("due_at IS NOT NULL"),
            postgresql_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_job_canceled_in_queue",
            sqlite_where=sa.text("state = 'canceled' AND dispatch != 0"),
            postgresql_where=sa.text("state = 'canceled' AND dispatch != 0"),
        )

    op.drop_table("job")
    op.drop_table("setting")
    with op.batch_alter_table("queue", schema=None) as batch_op:
        batch_op.drop_index("ix_queue_type")

    op.drop_table("queue")
    op.drop_table("part")
    op.drop_table("leader")
    op.drop_table("graph")
