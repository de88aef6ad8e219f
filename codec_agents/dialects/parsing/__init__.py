"""From token ids to meaning: turns, regions, tool calls and prompts are read here."""
