"""The version of Shoal, said here only."""

VERSION = "0.1.0"
