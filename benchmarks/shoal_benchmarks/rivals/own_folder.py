"""Run Python with a folder that only it sees, as on a device with a disk of its own.

    python -m shoal_benchmarks.rivals.own_folder FOLDER -m MODULE ...

Hosts of a lab share the disk of the machine, and Ray's nodes would take each other's file names.
Needs root, as such a lab does.
"""

from __future__ import annotations

import os
import sys

SCRIPT = 'mount -t tmpfs shoal-rivals "$0" && exec "$@"'


def main(folder: str, *argv: str) -> None:
    """Become that program; the folder is empty at first and goes with it."""
    command = ["unshare", "--mount", "sh", "-c", SCRIPT, folder, sys.executable, *argv]
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(*sys.argv[1:])
