"""A real SSH session over a pair of sockets, by paramiko and the native modules behind it."""

from __future__ import annotations

import logging
import socket
import threading

import bcrypt
import nacl.signing
import paramiko
from paramiko.common import AUTH_FAILED, AUTH_SUCCESSFUL, OPEN_SUCCEEDED

logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # whoever closes last may find the other side gone
KEY = paramiko.ECDSAKey.generate()


class Server(paramiko.ServerInterface):
    """Lets one key in and one command run."""

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return AUTH_SUCCESSFUL if key == KEY else AUTH_FAILED

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        return command == b"uptime"


ours, theirs = socket.socketpair()
server = paramiko.Transport(theirs)
server.add_server_key(paramiko.ECDSAKey.generate())
server.start_server(event=threading.Event(), server=Server())
client = paramiko.Transport(ours)
client.connect(username="ops", pkey=KEY)
channel = client.open_session(timeout=120)
channel.exec_command("uptime")
answering = server.accept(20)
assert answering is not None
answering.sendall(b"up 7 days")
answering.close()
assert channel.makefile("rb").read() == b"up 7 days"
client.close()
server.close()

signer = nacl.signing.SigningKey.generate()
assert signer.verify_key.verify(signer.sign(b"text")) == b"text"
assert len(bcrypt.kdf(b"password", b"salt", 16, 50)) == 16
