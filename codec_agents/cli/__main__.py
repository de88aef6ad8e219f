"""`python -m codec_agents.cli`."""

from codec_agents.cli import main

main(prog_name="codec-agents")
