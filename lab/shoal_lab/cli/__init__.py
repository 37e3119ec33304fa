"""``shoal lab``, one file per group of its commands."""
