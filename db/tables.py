"""The tables, alike on SQLite and PostgreSQL.

Times are microseconds since the epoch in UTC: exact and sortable. Text compares by code point on
both (collation "C"), so order does not depend on the server's locale. JSON is kept as text, so
every number comes back to the last bit, NaN among them.
"""

import json
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

EXACT_TEXT: Final = Text().with_variant(Text(collation="C"), "postgresql")


class JsonText(TypeDecorator[Any]):
    """Plain values as JSON in a text column."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else json.dumps(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else json.loads(value)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {
        int: BigInteger,
        str: EXACT_TEXT,
        float: Float,
        bool: Boolean,
        dict[str, Any]: JsonText,
        list[Any]: JsonText,
    }


class DatasetRow(Base):
    __tablename__ = "datasets"
    __table_args__ = (
        UniqueConstraint("caller", "request_id"),
        Index("ix_datasets_create_time_id", "create_time", "id"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    create_time: Mapped[int]
    request_id: Mapped[str | None]
    caller: Mapped[str]
    source: Mapped[str]
    digest: Mapped[str]
    item_count: Mapped[int]
    size_bytes: Mapped[int]
    class_counts: Mapped[dict[str, Any]]
    group_count: Mapped[int]
    mask_count: Mapped[int]
    has_given_split: Mapped[bool]
    duplicate_count: Mapped[int]
    rejected: Mapped[list[Any]]
    rejected_count: Mapped[int] = mapped_column(server_default="0")
    audit: Mapped[dict[str, Any] | None]


class TrainingJobRow(Base):
    __tablename__ = "training_jobs"
    __table_args__ = (
        UniqueConstraint("caller", "request_id"),
        Index("ix_training_jobs_create_time_id", "create_time", "id"),
        Index("ix_training_jobs_state", "state"),
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    create_time: Mapped[int]
    update_time: Mapped[int]
    request_id: Mapped[str | None]
    caller: Mapped[str]
    # No foreign key: a data set may be deleted when the job that used it has ended.
    dataset: Mapped[str]
    spec: Mapped[dict[str, Any]]
    state: Mapped[str]
    progress: Mapped[float]
    stage: Mapped[str]
    attempt: Mapped[int]
    worker: Mapped[str | None]
    heartbeat_time: Mapped[int | None]
    enqueue_time: Mapped[int | None]
    start_time: Mapped[int | None]
    end_time: Mapped[int | None]
    model_version: Mapped[str | None]
    error_reason: Mapped[str | None]
    error_message: Mapped[str | None]
    search: Mapped[dict[str, Any] | None]
    result_job: Mapped[str | None]
    futile_attempts: Mapped[int] = mapped_column(server_default="0")


class JobEventRow(Base):
    __tablename__ = "job_events"

    job: Mapped[str] = mapped_column(
        ForeignKey("training_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    create_time: Mapped[int]
    state: Mapped[str]
    message: Mapped[str]
    epoch: Mapped[dict[str, Any] | None]


class SearchTrialRow(Base):
    __tablename__ = "search_trials"

    job: Mapped[str] = mapped_column(
        ForeignKey("training_jobs.id", ondelete="CASCADE"), primary_key=True
    )
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    recipe: Mapped[dict[str, Any]]
    state: Mapped[str]
    # Of its best epoch, for questions in SQL; null if there was none.
    score: Mapped[float | None]
    scores: Mapped[list[Any]]
    seconds: Mapped[float]
    error: Mapped[str | None]


class ModelVersionRow(Base):
    __tablename__ = "model_versions"
    __table_args__ = (Index("ix_model_versions_create_time_id", "create_time", "id"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    create_time: Mapped[int]
    task: Mapped[str]
    backbone: Mapped[str]
    digest: Mapped[str]
    dataset: Mapped[str]
    dataset_digest: Mapped[str]
    training_job: Mapped[str]
    spec: Mapped[dict[str, Any]]
    weights_source: Mapped[str]
    evaluation: Mapped[dict[str, Any]]
    parameters: Mapped[int]
    size_bytes: Mapped[int]
    train_seconds: Mapped[float]
    latency_ms: Mapped[float]
    library_versions: Mapped[dict[str, Any]]


class MetricRow(Base):
    """A version's numbers one by one, for questions in SQL."""

    __tablename__ = "metrics"

    model_version: Mapped[str] = mapped_column(
        ForeignKey("model_versions.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class ModelAliasRow(Base):
    __tablename__ = "model_aliases"

    alias: Mapped[str] = mapped_column(primary_key=True)
    model_version: Mapped[str] = mapped_column(ForeignKey("model_versions.id"))


class AliasMoveRow(Base):
    __tablename__ = "alias_moves"

    alias: Mapped[str] = mapped_column(primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    create_time: Mapped[int]
    caller: Mapped[str]
    from_version: Mapped[str | None]
    to_version: Mapped[str]
    reason: Mapped[str]


FILTERED_COLUMNS: Final = (
    "label",
    "decision",
    "outcome",
    "status",
    "model_version",
    "image_sha256",
    "caller",
    "request_id",
)
"""Each has an index; ``db.log_pages`` tells how it is used."""

IN_ORDER_OF_TIME: Final = "sequence > 0"
"""True of every row. Only a statement that says so may walk the log in order of time."""

ANSWERS_REQUEST: Final = "(outcome = 'ANSWERED') IS TRUE AND request_id IS NOT NULL"
"""In a form that leads into no other index; see ``db.log_pages``."""


class PredictionRow(Base):
    """The audit log. Each index ends in time and sequence: a filtered page is one range."""

    __tablename__ = "predictions"
    __table_args__ = (
        Index(
            "uq_predictions_answered_request_id",
            "request_id",
            "caller",
            unique=True,
            sqlite_where=text(ANSWERS_REQUEST),
            postgresql_where=text(ANSWERS_REQUEST),
        ),
        Index(
            "ix_predictions_time",
            "create_time",
            "sequence",
            sqlite_where=text(IN_ORDER_OF_TIME),
            postgresql_where=text(IN_ORDER_OF_TIME),
        ),
        *(
            Index(f"ix_predictions_{column}_time", column, "create_time", "sequence")
            for column in FILTERED_COLUMNS
        ),
    )

    sequence: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False
    )
    id: Mapped[str] = mapped_column(unique=True)
    create_time: Mapped[int]
    request_id: Mapped[str | None]
    caller: Mapped[str]
    image_sha256: Mapped[str]
    image_bytes: Mapped[int]
    model_version: Mapped[str | None]
    # The mapper reads this JSON itself, to tell a row that was tampered with.
    probabilities: Mapped[str | None]
    label: Mapped[str | None]
    decision: Mapped[str | None]
    outcome: Mapped[str]
    status: Mapped[str]
    reason: Mapped[str | None]
    message: Mapped[str | None]
    latency_us: Mapped[int]
    software_version: Mapped[str]
    previous_hash: Mapped[str]
    row_hash: Mapped[str]
    segmenter_version: Mapped[str | None]
    # The mapper reads this JSON itself too.
    regions: Mapped[str | None]
    # 1 if it is so. No boolean: SQLite would turn whatever somebody wrote here into one.
    cached: Mapped[int] = mapped_column(Integer, server_default="0")


class AuditHeadRow(Base):
    """One row: where the chain ends. Writers lock it, so the chain has one end."""

    __tablename__ = "audit_head"

    id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    sequence: Mapped[int]
    row_hash: Mapped[str]


class ReviewRow(Base):
    __tablename__ = "reviews"
    __table_args__ = (Index("ix_reviews_prediction", "prediction", "create_time"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    prediction: Mapped[str] = mapped_column(ForeignKey("predictions.id"))
    create_time: Mapped[int]
    caller: Mapped[str] = mapped_column(server_default=text("''"))
    reviewer: Mapped[str]
    label: Mapped[str | None]
    agrees: Mapped[bool]
    comment: Mapped[str]
