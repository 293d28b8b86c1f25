"""Usage and counts of requests as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fledx.cli.views.charts import bar, sparkline
from fledx.cli.views.table import table
from fledx.cli.views.text import harmless, size

Json = Mapping[str, Any]
BAR = 24


def usage_table(items: Sequence[Json], *, wide: bool = False, columns: int | None = None) -> str:
    """One line a replica and minute; network and block figures count since the container's start."""
    heads = ["TIME", "DEPLOYMENT", "NODE", "REPLICA", "CPU", "MEM", "RX", "TX", *(("READ", "WRITTEN") if wide else ())]
    return table(heads, [_row(item, wide=wide) for item in items], columns=columns)


def _row(item: Json, *, wide: bool) -> list[str]:
    row = [
        harmless(str(item["bucket_start"])[:16] + "Z"),
        harmless(item.get("deployment") or str(item["deployment_id"])[:8]),
        harmless(item.get("node") or str(item["node_id"])[:8]),
        str(item["replica_number"]),
        f"{item['avg_cpu_percent']:.1f}%",
    ]
    figures = ["memory", "network_rx", "network_tx", *(("blk_read", "blk_write") if wide else ())]
    return [*row, *(size(item.get(f"avg_{name}_bytes")) for name in figures)]


def filter_words(query: Json, seconds: float) -> str:
    """What was asked for, in fledx-core's words: `deployment=web replica=0 range=900s`."""
    words = [f"{key}={harmless(value)}" for key, value in query.items() if value is not None]
    return " ".join([*words, f"range={int(seconds)}s"])


def request_table(items: Sequence[Json], *, columns: int | None = None, unicode: bool = True) -> str:
    """One line a method, route and status, the count as a bar too."""
    top = max((int(item["count"]) for item in items), default=0)
    rows = [
        [
            *(harmless(item[key]) for key in ("method", "path", "status", "count")),
            bar(int(item["count"]), top, room=BAR, unicode=unicode),
        ]
        for item in items
    ]
    return table(["METHOD", "PATH", "STATUS", "COUNT", ""], rows, columns=columns)


def request_chart(found: Json, *, unicode: bool = True) -> str:
    """The last minute, a character a second, newest on the right; empty where a control plane does not tell it."""
    seconds = [int(count) for count in found.get("per_second") or ()]
    if not seconds:
        return ""
    drawn = sparkline(seconds, unicode=unicode)
    return f"|{drawn}| {sum(seconds)} requests in {len(seconds)} s, at most {max(seconds)} in one"
