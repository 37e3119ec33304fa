"""Sub-networks of one network that answer alone, for many images, or together, more accurately."""
