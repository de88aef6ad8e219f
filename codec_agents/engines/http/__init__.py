"""HTTP for the engines: connections, requests, streams of bytes."""
