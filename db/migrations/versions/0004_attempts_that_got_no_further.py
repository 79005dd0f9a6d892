"""Attempts that got no further"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0004"
down_revision: Final = "0003"
branch_labels: Final = None
depends_on: Final = None


# In place both ways: SQLite would drop a copied table with foreign keys on, and take every job's
# events with it.
def upgrade() -> None:
    with op.batch_alter_table("training_jobs", recreate="never") as jobs:
        column = sa.Column("futile_attempts", sa.BigInteger(), server_default="0", nullable=False)
        jobs.add_column(column)


def downgrade() -> None:
    with op.batch_alter_table("training_jobs", recreate="never") as jobs:
        jobs.drop_column("futile_attempts")
