"""Asking a service under load, and counting what came back."""
