"""A TCP proxy before PostgreSQL that can lose one commit: before the server has it, or after, when its answer is on the way."""

import contextlib
import socket
import threading
from typing import Self

#: A simple query (https://www.postgresql.org/docs/15/protocol-message-formats.html) that says COMMIT, as psycopg sends it.
COMMIT = b"Q\x00\x00\x00\x0bCOMMIT\x00"


class Proxy:
    """``lose``: what to do with the next commit, "" or "before" or "after" the server has done it. ``away``: nobody gets through.

    ``then_away``: nobody gets through once a commit was lost. ``lost``: how many were. It runs in threads of its own until it is closed.
    """

    def __init__(self, port: int) -> None:
        self.lose, self.away, self.then_away, self.lost = "", False, False, 0
        self._server_port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.away:
                    client.close()
                else:
                    _Link(self, client, socket.create_connection(("127.0.0.1", self._server_port))).start()


class _Link:
    """One connection, from the store's side to the server's."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
        self.proxy, self.client, self.server = proxy, client, server
        self.losing = False

    def start(self) -> None:
        for pump in (self._questions, self._answers):
            threading.Thread(target=self._until_cut, args=(pump,), daemon=True).start()

    def _until_cut(self, pump) -> None:
        with contextlib.suppress(OSError):
            pump()
        for side in (self.client, self.server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def _questions(self) -> None:
        while data := self.client.recv(1 << 16):
            if self.proxy.lose and COMMIT in data:
                how, self.proxy.lose, self.proxy.away = self.proxy.lose, "", self.proxy.then_away
                self.proxy.lost += 1
                if how == "before":
                    return
                self.losing = True
            self.server.sendall(data)

    def _answers(self) -> None:
        while data := self.server.recv(1 << 16):
            if self.losing:
                # The server has committed and says so; nobody will hear it.
                return
            self.client.sendall(data)
