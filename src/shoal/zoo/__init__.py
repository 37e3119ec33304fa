"""The small trained networks and sample images that ship."""
