"""Serving a codec with NVIDIA's Triton Inference Server: a model repository, its models, and a server to run them."""
