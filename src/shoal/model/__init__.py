"""Networks: load and normalise ONNX, cuts, parts, the engine that runs a part, profiles."""
