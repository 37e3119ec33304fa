"""The network cut in depth, a stretch of it on each device."""
