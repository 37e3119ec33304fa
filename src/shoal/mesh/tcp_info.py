"""What Linux says of a TCP connection (``struct tcp_info`` in ``linux/tcp.h``)."""

from __future__ import annotations

import socket
import struct
import sys
from functools import cache

from shoal.mesh.rate import TcpInfo

_SIZE = 232
_LEAST = 168
"""Bytes up to the rate of delivery (Linux 4.9)."""
_APP_LIMITED = struct.Struct("=7xB")
_U32 = struct.Struct("=24I")  # from 8: rto, ato, snd_mss, rcv_mss, unacked, ...
_MSS, _UNACKED, _LAST_SENT, _LAST_DATA, _LAST_ACK, _RTT = 2, 4, 9, 11, 12, 15
_ACKED = struct.Struct("=Q")  # at 120
_UNSENT = struct.Struct("=II")  # at 144: notsent_bytes, min_rtt
_RATE = struct.Struct("=Q")  # at 160
_SENT = struct.Struct("=QQ")  # at 200, since Linux 4.19: all that was sent, and that again
_WINDOW = struct.Struct("=I")  # at 228, since Linux 5.4


@cache
def _option() -> int | None:
    # Others have an option of this name, and tell it in another form.
    return getattr(socket, "TCP_INFO", None) if sys.platform == "linux" else None


def tcp_info(sock: socket.socket) -> TcpInfo | None:
    """What the system says of a connection; None where it says nothing."""
    option = _option()
    if option is None:
        return None
    try:
        data = sock.getsockopt(socket.IPPROTO_TCP, option, _SIZE)
    except OSError:
        return None
    if len(data) < _LEAST:
        return None
    words = _U32.unpack_from(data, 8)
    unsent, min_rtt_us = _UNSENT.unpack_from(data, 144)
    acked = _ACKED.unpack_from(data, 120)[0]
    flying = words[_UNACKED] * words[_MSS]  # packets, which may be smaller
    if len(data) >= _SIZE:
        sent, again = _SENT.unpack_from(data, 200)
        flying = min(flying, max(0, sent - again - acked))
    room = _WINDOW.unpack_from(data, 228)[0] if len(data) >= _SIZE else None
    return TcpInfo(
        delivery_rate=float(_RATE.unpack_from(data, 160)[0]),
        app_limited=bool(_APP_LIMITED.unpack_from(data)[0] & 1),
        delivered=acked,
        unsent=unsent,
        flying=flying,
        rtt_s=words[_RTT] * 1e-6,
        min_rtt_s=0.0 if min_rtt_us == 0xFFFFFFFF else min_rtt_us * 1e-6,
        quiet_s=words[_LAST_ACK] * 1e-3,
        unsaid_s=words[_LAST_SENT] * 1e-3,
        unheard_s=words[_LAST_DATA] * 1e-3,
        room=room,
        shut=room is not None and unsent > 0 and flying + words[_MSS] > room,
    )
