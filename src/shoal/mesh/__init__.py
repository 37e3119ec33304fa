"""Link, and its two kinds: Zenoh and in-process."""
