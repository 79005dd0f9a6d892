"""Regions of predictions"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"
branch_labels: Final = None
depends_on: Final = None

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


# In place both ways: SQLite would drop a copied table with foreign keys on, and reviews point here.
def upgrade() -> None:
    with op.batch_alter_table("predictions", recreate="never") as predictions:
        # Null: regions were not asked for. The hash of such a row covers no more than before.
        predictions.add_column(sa.Column("segmenter_version", TEXT, nullable=True))
        predictions.add_column(sa.Column("regions", TEXT, nullable=True))


def downgrade() -> None:
    """Rows that have regions do not verify without them."""
    with op.batch_alter_table("predictions", recreate="never") as predictions:
        predictions.drop_column("regions")
        predictions.drop_column("segmenter_version")
