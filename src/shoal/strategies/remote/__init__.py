"""The whole network on one device elsewhere."""
