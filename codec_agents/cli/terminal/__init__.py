"""Drawing on the terminal: the console, escaped text, figures, lanes and tables."""

from codec_agents.cli.terminal.console import (
    Glyphs,
    echo,
    echo_data,
    echo_json,
    glyphs,
    new_console,
    print_json,
    prompt,
    width,
)
from codec_agents.cli.terminal.growing import GrowingLine
from codec_agents.display.escape import escape, escape_json, escape_line
from codec_agents.display.figures import milliseconds, plural, seconds, size

__all__ = [
    "Glyphs",
    "GrowingLine",
    "echo",
    "echo_data",
    "echo_json",
    "escape",
    "escape_json",
    "escape_line",
    "glyphs",
    "milliseconds",
    "new_console",
    "plural",
    "print_json",
    "prompt",
    "seconds",
    "size",
    "width",
]
