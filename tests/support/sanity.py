"""The invariants of the design as queries: what must hold after every transaction."""

from __future__ import annotations

from sqlalchemy import Connection, text

VIOLATIONS = {
    "a job was handed out before every edge was satisfied": """
        SELECT child.key FROM edge
        JOIN job AS child ON child.key = edge.child_key
        JOIN job AS parent ON parent.key = edge.parent_key
        WHERE child.state IN ('queued', 'running', 'scheduled', 'finished', 'failed')
        AND NOT (
            edge.condition = 'success' AND parent.state = 'finished'
            OR edge.condition = 'failure' AND parent.state = 'failed'
            OR edge.condition = 'any' AND parent.finished_at IS NOT NULL
        )""",
    "pending is not the number of open edges": """
        SELECT child.key FROM job AS child
        WHERE child.state = 'waiting' AND child.pending != (
            SELECT count(*) FROM edge
            JOIN job AS parent ON parent.key = edge.parent_key
            LEFT JOIN frontier ON frontier.parent_key = parent.key
            WHERE edge.child_key = child.key AND (
                parent.finished_at IS NULL OR frontier.after_child_key < child.key
            )
        )""",
    "a job waits for nothing": """
        SELECT key FROM job WHERE state = 'waiting' AND pending = 0""",
    "a job waits though an edge is broken": """
        SELECT child.key FROM edge
        JOIN job AS child ON child.key = edge.child_key
        JOIN job AS parent ON parent.key = edge.parent_key
        LEFT JOIN frontier ON frontier.parent_key = parent.key
        WHERE child.state = 'waiting' AND parent.finished_at IS NOT NULL
        AND (frontier.parent_key IS NULL OR frontier.after_child_key >= child.key)
        AND NOT (
            edge.condition = 'success' AND parent.state = 'finished'
            OR edge.condition = 'failure' AND parent.state = 'failed'
            OR edge.condition = 'any'
        )""",
    "a scheduled job has no timer": """
        SELECT key FROM job WHERE state = 'scheduled' AND due_at IS NULL""",
    "the count of handed-out jobs is wrong": """
        SELECT queue.key FROM queue WHERE handed_out != (
            SELECT count(*) FROM job WHERE job.queue_key = queue.key AND job.dispatch != 0
        )""",
    "a final job has no end, or an open one has": """
        SELECT key FROM job
        WHERE (finished_at IS NOT NULL) != (
            state IN ('finished', 'failed', 'skipped', 'canceled')
        )""",
    "a skipped job's cause does not break an edge of it": """
        SELECT child.key FROM job AS child WHERE child.state = 'skipped' AND NOT EXISTS (
            SELECT 1 FROM edge JOIN job AS parent ON parent.key = edge.parent_key
            WHERE edge.child_key = child.key AND parent.key = child.cause_key
            AND parent.finished_at IS NOT NULL
        )""",
    "a finished job that has a worker has no result": """
        SELECT key FROM job LEFT JOIN outcome ON outcome.job_key = job.key
        WHERE state = 'finished' AND queue_key IS NOT NULL AND outcome.result IS NULL""",
    "a retry is linked one way only": """
        SELECT copy.key FROM job AS copy JOIN job AS original ON original.key = copy.retry_of_key
        WHERE original.retried_as_key IS NOT copy.key""",
}


def sanity_check(connection: Connection) -> None:
    """Fail on the first job that violates an invariant."""
    for problem, query in VIOLATIONS.items():
        found = connection.execute(text(query)).scalars().first()
        assert found is None, f"{problem}: row {found}"
