"""Rankings as a dataset on the Hub: one JSON file (whole) and one Parquet file (rows) for each, at a stable path."""

from hf_emms.merging import JSON_FOLDER, merged, path_of
from hf_emms.results.destinations import Destination, ResultsDataset, ResultsFolder, published_line
from hf_emms.results.repository import parquet, publish, publish_wheel, pull

__all__ = [
    "JSON_FOLDER",
    "Destination",
    "ResultsDataset",
    "ResultsFolder",
    "merged",
    "parquet",
    "path_of",
    "publish",
    "publish_wheel",
    "published_line",
    "pull",
]
