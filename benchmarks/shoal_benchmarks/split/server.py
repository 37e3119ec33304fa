"""The server's process in the lab: a worker that knows the baseline's codec as well."""

from __future__ import annotations

import runpy

from shoal_benchmarks.split.baselines import install

if __name__ == "__main__":
    install()
    runpy.run_module("shoal.runtime.worker", run_name="__main__")
