"""Searches of recipes"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0003"
down_revision: Final = "0002"
branch_labels: Final = None
depends_on: Final = None

JSON: Final = sa.Text()
TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("training_jobs") as jobs:
        # Null: a job that trains a model.
        jobs.add_column(sa.Column("search", JSON, nullable=True))
        jobs.add_column(sa.Column("result_job", TEXT, nullable=True))
    op.create_table(
        "search_trials",
        sa.Column("job", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("recipe", JSON, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("scores", JSON, nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("error", TEXT, nullable=True),
        sa.ForeignKeyConstraint(
            ["job"],
            ["training_jobs.id"],
            name=op.f("fk_search_trials_job_training_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job", "number", name=op.f("pk_search_trials")),
    )


def downgrade() -> None:
    op.drop_table("search_trials")
    # In place: a copy would be dropped with foreign keys on, and take every job's events with it.
    with op.batch_alter_table("training_jobs", recreate="never") as jobs:
        jobs.drop_column("result_job")
        jobs.drop_column("search")
