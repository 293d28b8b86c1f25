"""The web server behind what is measured: nginx, set up as Debian ships it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks import sshd
from tests.benchmarks.traffic import BODY
from tests.ports import free_port
from tests.tools.machine import BUILD, Stop, quiet

FOLDER = BUILD / "nginx"
APART = "/apart/"
"""A place whose answers come as head and body, each in a segment of its own, as nginx's own image has it everywhere."""

CONFIG = """\
daemon off;
{user}
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 768; }}
http {{
    sendfile on;
    tcp_nopush on;
    types_hash_max_size 2048;
    default_type application/octet-stream;
    access_log {folder}/access.log;
    gzip on;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {folder}/www;
        location {apart} {{ alias {folder}/www/; tcp_nopush off; }}
    }}
}}
"""


def binary() -> str:
    """That of this machine, else the distribution's, only unpacked: a package that is installed opens port 80."""
    installed = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    found = FOLDER / "usr" / "sbin" / "nginx"
    if installed is None and not found.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        try:
            quiet(["sh", "-c", f"cd '{FOLDER}' && apt-get download nginx && dpkg -x nginx_*.deb ."])
        except Stop as problem:
            raise SystemExit(f"the benchmark needs an nginx (Debian: apt-get install nginx-light): {problem}") from None
    return installed or str(found)


@contextmanager
def serving(folder: Path, count: int) -> Iterator[int]:
    """
    Its port: 200 bytes for `/` and for `APART`, and a file of `count` zeros by that name.

    The file has been read once: to bring it into memory costs more than to send it, and whoever is asked for it first
    would seem slow for that.
    """
    root = folder / "www"
    root.mkdir()
    (root / "index.html").write_bytes(BODY)
    with (root / str(count)).open("wb") as file:
        file.truncate(count)
    with (root / str(count)).open("rb") as file:
        while file.read(1024 * 1024):
            pass
    port = free_port()
    config = folder / "nginx.conf"
    user = "" if os.getuid() else "user root;"  # who can read our folder
    config.write_text(CONFIG.format(folder=folder, port=port, user=user, apart=APART))
    child = subprocess.Popen([binary(), "-p", str(folder), "-e", f"{folder}/error.log", "-c", str(config)])
    try:
        sshd.wait_for(port)
        yield port
    finally:
        child.terminate()
        child.wait(10)
