"""The commands, one a file; `codec_agents.cli` loads each when it is asked for."""
