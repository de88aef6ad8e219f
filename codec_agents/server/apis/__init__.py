"""The chat APIs of OpenAI and Anthropic: their requests as one value, and their forms of answers."""
