"""Gateway and worker as state machines without I/O, clock or threads."""
