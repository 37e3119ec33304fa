"""What a measurement was taken on: machine, versions, date, commit."""

from __future__ import annotations

import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from shoal import allowance

PACKAGES = ("shoal", "onnx", "onnxruntime", "eclipse-zenoh", "numpy", "torch")


def environment() -> str:
    """One line that names the CPU, its cores, the versions, the date and the commit."""
    packages = ", ".join(f"{name} {found}" for name in PACKAGES if (found := _version(name)))
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    release = platform.release().partition("-")[0]  # behind it stands who built it
    return (
        f"{_cpu()}, {allowance.cores():g} cores, {platform.system()} {release}, "
        f"Python {platform.python_version()}, {packages}, {now}, commit {_commit()}"
    )


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.lower().startswith(("model name", "hardware")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str:
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "describe", "--always", "--dirty", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return found.stdout.strip()
