"""The store: SQL for records, fsspec for bytes. Rows and drivers stay in here."""
