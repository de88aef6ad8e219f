"""From a declaration to a plan."""
