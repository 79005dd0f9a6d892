"""Answers from the cache"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0006"
down_revision: Final = "0005"
branch_labels: Final = None
depends_on: Final = None


# In place both ways: SQLite would drop a copied table with foreign keys on, and reviews point here.
def upgrade() -> None:
    with op.batch_alter_table("predictions", recreate="never") as predictions:
        # 0 for rows from before, and from a gateway that knows nothing of it yet.
        predictions.add_column(sa.Column("cached", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """Rows of answers that came from the cache do not verify without it."""
    with op.batch_alter_table("predictions", recreate="never") as predictions:
        predictions.drop_column("cached")
