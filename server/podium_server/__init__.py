"""The Podium server: a model registry over gRPC. `__main__` wires it together; start reading at `service`."""
