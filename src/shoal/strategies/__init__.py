"""One package per way to spread a network: build.py makes the playbook, policy.py decides."""
