"""Audits of data sets"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0002"
down_revision: Final = "0001"
branch_labels: Final = None
depends_on: Final = None

JSON: Final = sa.Text()


def upgrade() -> None:
    with op.batch_alter_table("datasets") as datasets:
        # Null: accepted before there were audits.
        datasets.add_column(sa.Column("audit", JSON, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("datasets") as datasets:
        datasets.drop_column("audit")
