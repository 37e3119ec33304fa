"""The gateway of a node: it owns its requests until each is answered once or failed."""
