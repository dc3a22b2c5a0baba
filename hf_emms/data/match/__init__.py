"""Match the columns of a dataset with the columns of a task."""

from hf_emms.data.match.named_columns import is_series
from hf_emms.data.match.schema import RowSchema, read_schema

__all__ = ["RowSchema", "is_series", "read_schema"]
