"""A TCP line that can go dead without being closed: what a firewall that forgot the connection, or a pulled cable, looks like."""

import contextlib
import socket
import threading
from typing import Self


class Line:
    """A relay on the loopback interface. While ``dead`` is set it takes what either side sends and passes nothing on; it closes nothing."""

    def __init__(self, port: int) -> None:
        self.dead = threading.Event()
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._ends: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # Closing alone wakes no thread that sits in accept or recv.
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
                for pair in ((near, far), (far, near)):
                    thread = threading.Thread(target=self._pump, args=pair, daemon=True)
                    self._threads.append(thread)
                    thread.start()
                self.connections += 1

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if not self.dead.is_set():
                    sink.sendall(data)
            if not self.dead.is_set():
                sink.shutdown(socket.SHUT_WR)
