"""Hosts, slow links and faults on one machine."""
