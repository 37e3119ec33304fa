"""The network between a weak device and a strong server: cut and precision chosen together."""
