"""A node in a process of its own, for the tests: ``mesh_peer.py NAME HOST [ADDRESS ...]``.

It listens on HOST, says ``ready ADDRESS`` on its standard output, answers what it is sent, and
passes on what begins with ``to NAME``; told to ``fork``, it gets a child that lives until its
standard input ends; whom it sees it says on its standard error. It stops when
its standard input ends, or when its name is lost. ``LEASE_MS`` in the environment is its lease.
"""

import os
import sys
import threading
import time

from shoal.errors import ShoalError
from shoal.mesh.events import LinkEvent, NameLost, PeerDown, PeerUp, Received
from shoal.mesh.zenoh import ZenohLink


def main(name: str, host: str, *seeds: str) -> int:
    lease_ms = int(os.environ.get("LEASE_MS", "400"))
    link = ZenohLink(name, [f"tcp/{host}:0"], seeds, lease_ms=lease_ms)
    ended = threading.Event()

    def sink(event: LinkEvent) -> bool:
        if isinstance(event, (PeerUp, PeerDown)):
            print(type(event).__name__, event.name, file=sys.stderr, flush=True)
        if isinstance(event, NameLost):
            print("name lost", flush=True)
            ended.set()
        if isinstance(event, Received):
            words = event.head.split()
            if words[:1] == [b"to"]:
                link.send(words[1].decode(), b"from %s" % name.encode(), event.body)
            elif words[:1] == [b"fork"]:
                if not os.fork():
                    while os.read(0, 1):
                        pass
                    os._exit(0)
                link.send(event.sender, b"forked")
            elif words[:1] == [b"peers"]:
                link.send(event.sender, " ".join(sorted(link.peers())).encode())
            elif words[:1] != [b"from"]:
                link.send(event.sender, event.head, event.body)
            else:
                print("got", event.head.decode(), flush=True)
        return True

    try:
        link.start(sink)
    except ShoalError as error:
        print(type(error).__name__, error, flush=True)
        return error.exit_code
    print("ready", link.addresses[0], f"{time.process_time():.3f}", flush=True)

    def obey() -> None:
        for line in sys.stdin:  # "say NAME BYTES": send it something
            _, to, size = line.split()
            link.send(to, b"from %s" % name.encode(), bytes(int(size)))
        ended.set()

    threading.Thread(target=obey, daemon=True).start()
    ended.wait()
    link.close()
    print("closed", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
