"""Jinja chat templates: read in a sandbox, compared with a dialect, or turned into one."""
