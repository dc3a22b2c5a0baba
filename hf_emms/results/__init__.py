"""Rankings as a dataset on the Hub: one JSON file (whole) and one Parquet file (rows) for each, at a stable path."""

from hf_emms.results.merge import merged, path_of
from hf_emms.results.publish import JSON_FOLDER, publish, pull
from hf_emms.results.table import parquet

__all__ = ["JSON_FOLDER", "merged", "parquet", "path_of", "publish", "pull"]
