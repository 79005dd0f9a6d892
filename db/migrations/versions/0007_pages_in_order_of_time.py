"""Pages in order of time"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0007"
down_revision: Final = "0006"
branch_labels: Final = None
depends_on: Final = None

TABLE: Final = "predictions"
COLUMNS: Final = (
    "label",
    "decision",
    "outcome",
    "status",
    "model_version",
    "image_sha256",
    "caller",
    "request_id",
)
ANSWERS_REQUEST: Final = "(outcome = 'ANSWERED') IS TRUE AND request_id IS NOT NULL"
ANSWERED_BEFORE: Final = "outcome = 'ANSWERED' AND request_id IS NOT NULL"


# Only indexes change: rows, hashes and what software from before asks stay as they were. The
# database takes no predictions while a million rows are sorted, which is under a minute.
def upgrade() -> None:
    for column in ("create_time", *COLUMNS):
        op.drop_index(f"ix_predictions_{column}", TABLE)
    op.drop_index("uq_predictions_answered_request", TABLE)
    for column in COLUMNS:
        op.create_index(f"ix_predictions_{column}_time", TABLE, [column, "create_time", "sequence"])
    create_partial("ix_predictions_time", ["create_time", "sequence"], "sequence > 0")
    answered = "uq_predictions_answered_request_id"
    create_partial(answered, ["request_id", "caller"], ANSWERS_REQUEST, unique=True)


def downgrade() -> None:
    op.drop_index("uq_predictions_answered_request_id", TABLE)
    op.drop_index("ix_predictions_time", TABLE)
    for column in COLUMNS:
        op.drop_index(f"ix_predictions_{column}_time", TABLE)
    for column in ("create_time", *COLUMNS):
        op.create_index(f"ix_predictions_{column}", TABLE, [column, "sequence"])
    answered = "uq_predictions_answered_request"
    create_partial(answered, ["caller", "request_id"], ANSWERED_BEFORE, unique=True)


def create_partial(name: str, columns: list[str], where: str, *, unique: bool = False) -> None:
    condition = sa.text(where)
    op.create_index(
        name, TABLE, columns, unique=unique, sqlite_where=condition, postgresql_where=condition
    )
