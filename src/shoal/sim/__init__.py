"""The driver in virtual time."""
