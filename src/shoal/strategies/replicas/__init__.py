"""The whole network on every device; each request goes where it ends first."""
