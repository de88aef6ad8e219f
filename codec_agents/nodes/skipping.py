"""How a node says that it does not run."""


class NodeSkipped(Exception):  # noqa: N818 - not an error: a branch that was not taken
    """The node is on a branch that was not taken."""
