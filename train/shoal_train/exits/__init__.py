"""Early exits for networks that are trained already."""
