"""Who sent a review"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0008"
down_revision: Final = "0007"
branch_labels: Final = None
depends_on: Final = None

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    with op.batch_alter_table("reviews", recreate="never") as reviews:
        # Nobody knows it of rows from before, and of a gateway that knows nothing of it yet.
        reviews.add_column(sa.Column("caller", TEXT, nullable=False, server_default=sa.text("''")))


def downgrade() -> None:
    with op.batch_alter_table("reviews", recreate="never") as reviews:
        reviews.drop_column("caller")
