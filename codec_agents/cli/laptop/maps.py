"""The maps of the models, built from their files."""

from __future__ import annotations

from pathlib import Path

from codec_agents.cli.laptop.models import RealModel
from codec_agents.compiler.map_files import map_of_file
from codec_agents.compiler.maps import map_cache_folder
from codec_core.discovery import DiskMapCache
from codec_core.maps import TokenizerMap


def map_of_model(model: RealModel, file: Path) -> TokenizerMap:
    """Return the map of a model, built from its file once and cached like that of any pipeline."""
    return map_of_file(file, model.map_id, DiskMapCache(map_cache_folder()))
