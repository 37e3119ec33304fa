"""The packages that training stands on: those of Shoal's extra ``torch``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from shoal.errors import MissingExtraError

PACKAGES = ("torch", "onnxscript")


@contextmanager
def packages() -> Iterator[None]:
    """For imports that need them: MissingExtraError, with how to get it, where one is missing. So
    it is told before a training, not when its network is exported."""
    try:
        import onnxscript  # noqa: F401  (what torch.onnx.export stands on)

        yield
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES:
            raise
        raise MissingExtraError(
            f"training needs the package {error.name}: pip install 'shoal[torch]'"
        ) from error
