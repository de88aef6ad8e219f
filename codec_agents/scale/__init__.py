"""Many runs of one pipeline: batch files in this process, on Ray Data, and durable runs on DBOS."""

from codec_agents.scale.batch import run_batch
from codec_agents.scale.output import BatchSummary
from codec_agents.scale.ray_data import map_batches
from codec_agents.scale.replicas import replicas
from codec_agents.scale.rows import Row, read_rows

__all__ = ["BatchSummary", "Row", "map_batches", "read_rows", "replicas", "run_batch"]
