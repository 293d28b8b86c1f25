"""Tables and progress on a terminal, by rich without pygments."""

from __future__ import annotations

import io
import sys

from rich.console import Console
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.tree import Tree

table = Table("name", "日本")
table.add_row("web", "[red]é")
shown = io.StringIO()
console = Console(file=shown, force_terminal=True, width=40)
console.print(table, Tree("nodes"))
with Live(table, console=console):
    pass
with Progress(console=console) as progress:
    progress.add_task("pulling", total=1, completed=1)
assert "web" in shown.getvalue()
assert "pygments" not in sys.modules
