"""Link, and what is behind it (see the table of files in docs/architecture.md)."""
