"""Plans and playbooks, clusters, forecasts and search."""
