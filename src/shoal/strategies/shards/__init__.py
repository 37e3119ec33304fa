"""The strategy ``shards``: filters dealt by importance, the important ones held by all."""
