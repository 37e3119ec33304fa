"""The driver in virtual time: gateways and workers of :mod:`shoal.core` on modelled devices and
links, with a fault at any exact moment."""
