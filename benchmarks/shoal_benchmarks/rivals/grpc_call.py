"""Calls from one stage of the gRPC chain to the next, and from the client to the first."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor

import grpc

SERVICE, METHOD = "Stage", "run"
MAX_BYTES = 64 << 20
OPTIONS = [
    ("grpc.max_send_message_length", MAX_BYTES),
    ("grpc.max_receive_message_length", MAX_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]
"""The reconnection is much quicker than gRPC's own choice (1 s, growing to 120 s)."""
AGAIN_S = 0.01


class Next:
    """The stage at an address. A call that the stage could not take, or that died with it, is
    made again (what it computes has no effects) until its deadline."""

    def __init__(self, address: str, port: int) -> None:
        self._channel = grpc.insecure_channel(f"{address}:{port}", options=OPTIONS)
        self._call = self._channel.unary_unary(f"/{SERVICE}/{METHOD}")

    def ask(self, request: bytes, timeout_s: float | None) -> bytes:
        """The answer. grpc.RpcError when there is none by the deadline."""
        end_s = time.monotonic() + (timeout_s if timeout_s is not None else 60.0)
        while True:
            left_s = end_s - time.monotonic()
            try:
                answer: bytes = self._call(request, timeout=left_s, wait_for_ready=True)
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or left_s <= 0:
                    raise
                time.sleep(AGAIN_S)
                continue
            return answer

    def close(self) -> None:
        """Hang up."""
        self._channel.close()


class Asker:
    """A client with room for ``window`` calls at once."""

    def __init__(self, first: Next, window: int, deadline_s: float) -> None:
        self._first = first
        self._deadline_s = deadline_s
        self._pool = ThreadPoolExecutor(window, "call")

    def ask(self, request: bytes) -> Future[bytes]:
        """The answer to come."""
        return self._pool.submit(self._first.ask, request, self._deadline_s)

    def close(self) -> None:
        """Hang up."""
        self._first.close()
        self._pool.shutdown(cancel_futures=True)
