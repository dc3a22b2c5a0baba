"""Rankings as a dataset on the Hub: one JSON file (whole) and one Parquet file (rows) for each, at a stable path."""

from hf_emms.results.repository import JSON_FOLDER, merged, parquet, path_of, publish, pull

__all__ = ["JSON_FOLDER", "merged", "parquet", "path_of", "publish", "pull"]
