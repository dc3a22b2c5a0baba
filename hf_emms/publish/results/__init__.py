"""Rankings as a dataset on the Hub: one JSON file (whole) and one Parquet file (rows) for each, at a stable path."""

from hf_emms.publish.results.destinations import IN_JOB, Destination, PublishedRanking, ResultsDataset, ResultsFolder
from hf_emms.publish.results.repository import parquet, publish, publish_wheel, pull
from hf_emms.publish.results.static_order import KnownRankings, checkpoint_key, static_order
from hf_emms.ranking.merge import JSON_FOLDER, merged, path_of

__all__ = [
    "IN_JOB",
    "JSON_FOLDER",
    "Destination",
    "KnownRankings",
    "PublishedRanking",
    "ResultsDataset",
    "ResultsFolder",
    "checkpoint_key",
    "merged",
    "parquet",
    "path_of",
    "publish",
    "publish_wheel",
    "pull",
    "static_order",
]
