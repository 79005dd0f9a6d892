"""All files left out"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0009"
down_revision: Final = "0008"
branch_labels: Final = None
depends_on: Final = None


def upgrade() -> None:
    with op.batch_alter_table("datasets", recreate="never") as datasets:
        # 0 for rows from before, and from a worker that knows nothing of it yet: as many as named.
        column = sa.Column("rejected_count", sa.BigInteger(), nullable=False, server_default="0")
        datasets.add_column(column)


def downgrade() -> None:
    with op.batch_alter_table("datasets", recreate="never") as datasets:
        datasets.drop_column("rejected_count")
