"""The worker of a node: it runs what it is given and passes it on."""
