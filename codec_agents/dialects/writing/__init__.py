"""From meaning to token ids: prompts, turns, tool calls and tool results are written here."""
