"""The version of Shoal. The lab and the benchmarks ask for the same one, as a test holds."""

VERSION = "0.1.0"
