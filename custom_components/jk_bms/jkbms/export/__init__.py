"""Values for those who keep them: metrics, push client, exporter."""
