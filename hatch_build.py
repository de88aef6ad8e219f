"""The addresses of the project, which only the place that builds a release knows."""

from __future__ import annotations

import os
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class Addresses(MetadataHookInterface):
    """Names the repository whose workflow builds the package; a build elsewhere names none."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `urls`, from the variables that GitHub sets in a workflow."""
        server, repository = (os.environ.get(f"GITHUB_{name}") for name in ("SERVER_URL", "REPOSITORY"))
        if server and repository:
            address = f"{server}/{repository}"
            metadata["urls"] = {
                "Repository": address,
                "Issues": f"{address}/issues",
                "Documentation": f"{address}/tree/HEAD/docs",
                "Changelog": f"{address}/blob/HEAD/CHANGELOG.md",
            }
