"""A tiny image whose containers run a line of shell; made on the machine, as there may be no registry."""

from __future__ import annotations

from fledx.sample.image import Engine
from fledx.sample.rootfs import Interpreter, gather

NAME = "fledx-test-shell:1"


def ensure_shell_image(docker_host: str | None = None) -> str:
    """See to it that the engine has the image, and return its name."""
    engine = Engine.at(docker_host)
    if engine.inspect(NAME) is None:
        changes = ['ENTRYPOINT ["/bin/sh", "-c"]', "ENV PATH=/usr/bin:/bin LANG=C.UTF-8"]
        repository, _, tag = NAME.rpartition(":")
        engine.import_tar(gather(Interpreter.running()), repository=repository, tag=tag, changes=changes)
    return NAME
