"""The whole network in the user's process: what distributing it has to beat."""
