"""Shoal: one trained CNN, answered by several weak, far or unreliable devices."""
