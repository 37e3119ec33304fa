"""What gateway and worker of a node both stand on."""
