"""Deprecated path of `codec_agents.records.reader`; removed in 0.3."""

from codec_agents.records.reader import read_record
from codec_agents.records.recorded import RecordedRun

__all__ = ["RecordedRun", "read_record"]
