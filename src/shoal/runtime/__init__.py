"""The drivers: worker and gateway processes."""
