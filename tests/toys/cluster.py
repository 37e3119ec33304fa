"""Clusters and what their devices hold."""

from shoal.plan.cluster import Cluster, Device, Gateway, Host
from shoal.plan.plan import Playbook


def on_one_host(count: int, cores: float) -> Cluster:
    """``count`` devices ``worker-1`` ... and the gateway, all on one host of ``cores``."""
    return Cluster(
        devices=tuple(Device(name=f"worker-{k + 1}", host="here") for k in range(count)),
        gateway=Gateway(host="here"),
        hosts={"here": Host(cores)},
    )


def memory_of(playbook: Playbook, device: str) -> int:
    """Bytes that all the parts of ``device`` need together, those of spares included."""
    return sum(playbook.parts[part].memory for part in playbook.parts_of(device))
