"""Match the columns of a dataset with the columns of a task."""

from hf_emms.data.match.named_columns import is_series
from hf_emms.data.match.schema import RowSchema, read_schema
from hf_emms.data.match.unclear import UnclearColumnsError

__all__ = ["RowSchema", "UnclearColumnsError", "is_series", "read_schema"]
