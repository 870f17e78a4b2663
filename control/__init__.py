"""The daemon's local HTTP API: what it is doing, and steering it by hand."""
