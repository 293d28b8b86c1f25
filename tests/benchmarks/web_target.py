"""The web server behind what is measured: 200 bytes for `/`, as many zeros as asked for `/N`; prints its port."""

from __future__ import annotations

import select
import socket

BODY = b"x" * 200
SMALL = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 200\r\n\r\n" + BODY
ZEROS = bytes(1024 * 1024)


class WebTarget:
    """One epoll loop in one thread, so that it costs little beside what is measured; requests are not pipelined."""

    def __init__(self) -> None:
        self.listening = socket.create_server(("127.0.0.1", 0), backlog=512)
        self.listening.setblocking(False)
        self._poll = select.epoll()
        self._poll.register(self.listening, select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._left: dict[int, int] = {}

    def run(self) -> None:
        """Serve until the process ends."""
        while True:
            for fd, _ in self._poll.poll():
                if fd == self.listening.fileno():
                    self._accept()
                elif self._left.get(fd):
                    self._send(fd)
                else:
                    self._read(fd)

    def _accept(self) -> None:
        sock, _ = self.listening.accept()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setblocking(False)
        self._sockets[sock.fileno()] = sock
        self._poll.register(sock, select.EPOLLIN)

    def _read(self, fd: int) -> None:
        try:
            data = self._sockets[fd].recv(65536)
        except ConnectionError:
            data = b""
        if not data:
            self._end(fd)
            return
        asked = data.split(b" ", 2)[1].strip(b"/")
        if not asked.isdigit():
            self._sockets[fd].send(SMALL)
            return
        self._left[fd] = int(asked)
        self._sockets[fd].send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % int(asked))
        self._poll.modify(fd, select.EPOLLOUT)

    def _send(self, fd: int) -> None:
        try:
            self._left[fd] -= self._sockets[fd].send(ZEROS[: self._left[fd]])
        except BlockingIOError:
            return
        except ConnectionError:
            self._end(fd)
            return
        if not self._left[fd]:
            self._poll.modify(fd, select.EPOLLIN)

    def _end(self, fd: int) -> None:
        self._left.pop(fd, None)
        self._poll.unregister(fd)
        self._sockets.pop(fd).close()


if __name__ == "__main__":
    _target = WebTarget()
    print(_target.listening.getsockname()[1], flush=True)
    _target.run()
