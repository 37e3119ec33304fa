"""PyTorch: training and data sets. Imported by nobody but cli and bench."""
