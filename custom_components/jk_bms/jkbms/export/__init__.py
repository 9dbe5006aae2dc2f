"""Export values: metrics, push client, exporter."""
