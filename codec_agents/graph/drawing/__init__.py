"""Drawings of a declaration: Mermaid and SVG."""
