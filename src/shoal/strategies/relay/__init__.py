"""A network in tasks with an exit after each, which any holder may run (MDI-Exit)."""
