"""What a config is to hold, from flags, env files and local files."""

from __future__ import annotations

import base64
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fledx.cli.options import Parser
from fledx.cli.types import count, pair
from fledx.errors import InvalidSpec

Json = dict[str, Any]


def add_content(parser: Parser) -> None:
    """The flags of what is in a config."""
    group = parser.add_argument_group("content")
    group.add_argument(
        "--var", "--entry", dest="var", metavar="KEY=VALUE", type=pair, action="append", help="a variable; repeatable"
    )
    group.add_argument(
        "--from-env-file", metavar="PATH", action="append", help="variables, KEY=VALUE a line; repeatable"
    )
    group.add_argument(
        "--secret-entry",
        "--secret-var",
        dest="secret_entry",
        metavar="KEY=SECRET",
        type=pair,
        action="append",
        help="a variable filled from a secret (`docker inspect` shows it, other than a --file); repeatable",
    )
    group.add_argument(
        "--file",
        metavar="PATH=@LOCAL|PATH=SECRET",
        type=pair,
        action="append",
        help="a file in the container: with the content of a local file, or of a secret; repeatable",
    )
    parser.add_argument("--version", metavar="N", type=count, help="its version [one more than before]")


def content_of(args: Namespace) -> Json:
    """The body's fields that were given."""
    entries = [{"key": key, "value": value} for key, value in args.var or ()]
    for path in args.from_env_file or ():
        entries += [{"key": key, "value": value} for key, value in _env_file(path)]
    entries += [{"key": key, "secret_ref": secret} for key, secret in args.secret_entry or ()]
    files = [_file(path, source) for path, source in args.file or ()]
    body: Json = {"version": args.version}
    if entries or args.from_env_file:
        body["entries"] = entries
    if files:
        body["files"] = files
    return {key: value for key, value in body.items() if value is not None}


def _env_file(path: str) -> Iterator[tuple[str, str]]:
    """Lines of KEY=VALUE; blank ones, `#` ones and a leading `export ` are passed over, quotes are kept."""
    text = _read(path, "--from-env-file")
    try:
        lines = text.decode().splitlines()
    except UnicodeDecodeError:
        raise InvalidSpec("--from-env-file", f"{path} is not UTF-8") from None
    for number, line in enumerate(lines, 1):
        word = line.strip().removeprefix("\ufeff")
        if not word or word.startswith("#"):
            continue
        key, equals, value = word.removeprefix("export ").partition("=")
        if not equals or not key.strip():
            raise InvalidSpec("--from-env-file", f"{path}, line {number} is not KEY=VALUE")
        yield key.strip(), value.strip()


def _file(path: str, source: str) -> Json:
    if not source.startswith("@"):
        return {"path": path, "file_ref": source}
    content = _read(source[1:], "--file")
    try:
        return {"path": path, "content": content.decode()}
    except UnicodeDecodeError:
        return {"path": path, "content_base64": base64.b64encode(content).decode("ascii")}


def _read(path: str, flag: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as problem:
        raise InvalidSpec(flag, f"{path} cannot be read: {problem.strerror}") from None


def laid_over(body: Json, current: Json) -> Json:
    """The body with those entries and files of the config that it does not name."""
    found = dict(body)
    for field, word in (("entries", "key"), ("files", "path")):
        if field in body:
            named = {each[word].lower() for each in body[field]}
            found[field] = [*(each for each in current[field] if each[word].lower() not in named), *body[field]]
    return found
