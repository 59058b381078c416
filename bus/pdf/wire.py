"""Framed octets over a socket: their number in eight octets, then they themselves."""

import socket


def send(line: socket.socket, data: bytes) -> None:
    """Send one frame. Raises OSError; TimeoutError when the socket's time is up."""
    line.sendall(len(data).to_bytes(8, "big"))
    line.sendall(data)


def receive(line: socket.socket) -> bytes | None:
    """One frame, or None at the end. Raises as ``send``, and ConnectionError for an end in its middle."""
    head = _exactly(line, 8)
    if not head:
        return None
    data = _exactly(line, int.from_bytes(head, "big"))
    if data is None:
        raise ConnectionError("the line ended within a frame")
    return data


def _exactly(line: socket.socket, size: int) -> bytes | None:
    held = bytearray(size)
    view = memoryview(held)
    while view:
        got = line.recv_into(view)
        if not got:
            if len(view) < size:
                raise ConnectionError("the line ended within a frame")
            return None
        view = view[got:]
    return bytes(held)
