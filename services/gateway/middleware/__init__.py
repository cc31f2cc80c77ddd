"""What surrounds every request: response headers, slow clients, and telemetry."""
