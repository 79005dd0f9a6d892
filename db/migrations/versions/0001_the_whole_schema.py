"""The whole schema"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0001"
down_revision: Final = None
branch_labels: Final = None
depends_on: Final = None

TEXT: Final = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
JSON: Final = sa.Text()


def upgrade() -> None:
    op.create_table(
        "alias_moves",
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("caller", TEXT, nullable=False),
        sa.Column("from_version", TEXT, nullable=True),
        sa.Column("to_version", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("alias", "sequence", name=op.f("pk_alias_moves")),
    )
    op.create_table(
        "audit_head",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("row_hash", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_head")),
    )
    op.create_table(
        "datasets",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("request_id", TEXT, nullable=True),
        sa.Column("caller", TEXT, nullable=False),
        sa.Column("source", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("item_count", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("class_counts", JSON, nullable=False),
        sa.Column("group_count", sa.BigInteger(), nullable=False),
        sa.Column("mask_count", sa.BigInteger(), nullable=False),
        sa.Column("has_given_split", sa.Boolean(), nullable=False),
        sa.Column("duplicate_count", sa.BigInteger(), nullable=False),
        sa.Column("rejected", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_datasets")),
        sa.UniqueConstraint("caller", "request_id", name=op.f("uq_datasets_caller_request_id")),
    )
    op.create_index("ix_datasets_create_time_id", "datasets", ["create_time", "id"])

    op.create_table(
        "model_versions",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("task", TEXT, nullable=False),
        sa.Column("backbone", TEXT, nullable=False),
        sa.Column("digest", TEXT, nullable=False),
        sa.Column("dataset", TEXT, nullable=False),
        sa.Column("dataset_digest", TEXT, nullable=False),
        sa.Column("training_job", TEXT, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("weights_source", TEXT, nullable=False),
        sa.Column("evaluation", JSON, nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("train_seconds", sa.Float(), nullable=False),
        sa.Column("latency_ms", sa.Float(), nullable=False),
        sa.Column("library_versions", JSON, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
    )
    op.create_index("ix_model_versions_create_time_id", "model_versions", ["create_time", "id"])

    op.create_table(
        "predictions",
        sa.Column(
            "sequence",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=False,
            nullable=False,
        ),
        sa.Column("id", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("request_id", TEXT, nullable=True),
        sa.Column("caller", TEXT, nullable=False),
        sa.Column("image_sha256", TEXT, nullable=False),
        sa.Column("image_bytes", sa.BigInteger(), nullable=False),
        sa.Column("model_version", TEXT, nullable=True),
        sa.Column("probabilities", TEXT, nullable=True),
        sa.Column("label", TEXT, nullable=True),
        sa.Column("decision", TEXT, nullable=True),
        sa.Column("outcome", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("message", TEXT, nullable=True),
        sa.Column("latency_us", sa.BigInteger(), nullable=False),
        sa.Column("software_version", TEXT, nullable=False),
        sa.Column("previous_hash", TEXT, nullable=False),
        sa.Column("row_hash", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_predictions")),
        sa.UniqueConstraint("id", name=op.f("uq_predictions_id")),
    )
    op.create_index("ix_predictions_caller", "predictions", ["caller", "sequence"])
    op.create_index("ix_predictions_create_time", "predictions", ["create_time", "sequence"])
    op.create_index("ix_predictions_decision", "predictions", ["decision", "sequence"])
    op.create_index("ix_predictions_image_sha256", "predictions", ["image_sha256", "sequence"])
    op.create_index("ix_predictions_label", "predictions", ["label", "sequence"])
    op.create_index("ix_predictions_model_version", "predictions", ["model_version", "sequence"])
    op.create_index("ix_predictions_outcome", "predictions", ["outcome", "sequence"])
    op.create_index("ix_predictions_request_id", "predictions", ["request_id", "sequence"])
    op.create_index("ix_predictions_status", "predictions", ["status", "sequence"])
    op.create_index(
        "uq_predictions_answered_request",
        "predictions",
        ["caller", "request_id"],
        unique=True,
        sqlite_where=sa.text("outcome = 'ANSWERED' AND request_id IS NOT NULL"),
        postgresql_where=sa.text("outcome = 'ANSWERED' AND request_id IS NOT NULL"),
    )

    op.create_table(
        "training_jobs",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("update_time", sa.BigInteger(), nullable=False),
        sa.Column("request_id", TEXT, nullable=True),
        sa.Column("caller", TEXT, nullable=False),
        sa.Column("dataset", TEXT, nullable=False),
        sa.Column("spec", JSON, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("progress", sa.Float(), nullable=False),
        sa.Column("stage", TEXT, nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("worker", TEXT, nullable=True),
        sa.Column("heartbeat_time", sa.BigInteger(), nullable=True),
        sa.Column("enqueue_time", sa.BigInteger(), nullable=True),
        sa.Column("start_time", sa.BigInteger(), nullable=True),
        sa.Column("end_time", sa.BigInteger(), nullable=True),
        sa.Column("model_version", TEXT, nullable=True),
        sa.Column("error_reason", TEXT, nullable=True),
        sa.Column("error_message", TEXT, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_jobs")),
        sa.UniqueConstraint(
            "caller", "request_id", name=op.f("uq_training_jobs_caller_request_id")
        ),
    )
    op.create_index("ix_training_jobs_create_time_id", "training_jobs", ["create_time", "id"])
    op.create_index("ix_training_jobs_state", "training_jobs", ["state"])

    op.create_table(
        "job_events",
        sa.Column("job", TEXT, nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("message", TEXT, nullable=False),
        sa.Column("epoch", JSON, nullable=True),
        sa.ForeignKeyConstraint(
            ["job"],
            ["training_jobs.id"],
            name=op.f("fk_job_events_job_training_jobs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("job", "sequence", name=op.f("pk_job_events")),
    )
    op.create_table(
        "metrics",
        sa.Column("model_version", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.id"],
            name=op.f("fk_metrics_model_version_model_versions"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("model_version", "name", name=op.f("pk_metrics")),
    )
    op.create_table(
        "model_aliases",
        sa.Column("alias", TEXT, nullable=False),
        sa.Column("model_version", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["model_version"],
            ["model_versions.id"],
            name=op.f("fk_model_aliases_model_version_model_versions"),
        ),
        sa.PrimaryKeyConstraint("alias", name=op.f("pk_model_aliases")),
    )
    op.create_table(
        "reviews",
        sa.Column("id", TEXT, nullable=False),
        sa.Column("prediction", TEXT, nullable=False),
        sa.Column("create_time", sa.BigInteger(), nullable=False),
        sa.Column("reviewer", TEXT, nullable=False),
        sa.Column("label", TEXT, nullable=True),
        sa.Column("agrees", sa.Boolean(), nullable=False),
        sa.Column("comment", TEXT, nullable=False),
        sa.ForeignKeyConstraint(
            ["prediction"], ["predictions.id"], name=op.f("fk_reviews_prediction_predictions")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reviews")),
    )
    op.create_index("ix_reviews_prediction", "reviews", ["prediction", "create_time"])
    op.bulk_insert(
        sa.table("audit_head", sa.column("id"), sa.column("sequence"), sa.column("row_hash")),
        [{"id": 1, "sequence": 0, "row_hash": "0" * 64}],
    )


def downgrade() -> None:
    for table in (
        "reviews",
        "model_aliases",
        "metrics",
        "job_events",
        "training_jobs",
        "predictions",
        "model_versions",
        "datasets",
        "audit_head",
        "alias_moves",
    ):
        op.drop_table(table)
