"""The largest sizes that are accepted from outside. Checked before anything is allocated."""

from __future__ import annotations

FILE_BYTES = 2 * 1024**3 - 1
"""Of an ONNX file without its external data (protobuf allows no more)."""

TENSOR_BYTES = 2 * 1024**3
"""Of one weight, given or folded."""

ACTIVATION_BYTES = 512 * 1024**2
"""Of one activation, input or output for one image."""

PEAK_BYTES = 2 * 1024**3
"""Of all activations that are alive at once for one image."""

TOTAL_WEIGHT_BYTES = 8 * 1024**3
"""Of all weights of a network together."""

NODES = 50_000
"""Of a network."""

CROSSING = 256
"""Tensors that cross a cut: a message holds no more."""

RANK = 16
"""Dimensions of a tensor."""

GRAPH_BYTES = 64 * 1024**2
"""Of the graph of a part, which holds small weights only."""

BLOB_WEIGHT_BYTES = 1024
"""Weights of at least this size are blobs, kept outside the graph of a part."""
