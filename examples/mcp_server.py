"""An MCP server: the shelf of a small library. `mcp_bot.py` starts it; any other MCP client can, too.

python examples/mcp_server.py                 # over stdio
"""

from __future__ import annotations

from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import ToolAnnotations

server = MCPServer("library")

BOOKS = {
    "The Worst Journey in the World": ("Apsley Cherry-Garrard", 2),
    "Arctic Dreams": ("Barry Lopez", 1),
    "The Sea Around Us": ("Rachel Carson", 0),
}
"""Title: author, and copies on the shelf."""

lent: dict[str, list[str]] = {}


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def search(words: str) -> dict[str, list[dict[str, object]]]:
    """Find books by words of the title or the author."""
    wanted = set(words.casefold().split())
    found = [
        {"title": title, "author": author, "on_shelf": copies - len(lent.get(title, ()))}
        for title, (author, copies) in BOOKS.items()
        if wanted & set(f"{title} {author}".casefold().split())
    ]
    return {"books": found}


@server.tool()
def lend(title: str, reader: str) -> str:
    """Lend a book to a reader."""
    if title not in BOOKS:
        raise ToolError(f"there is no book {title!r}; search for it first")
    if BOOKS[title][1] <= len(lent.get(title, ())):
        raise ToolError(f"all copies of {title!r} are lent")
    lent.setdefault(title, []).append(reader)
    return f"{title} is lent to {reader}"


if __name__ == "__main__":
    server.run("stdio")
