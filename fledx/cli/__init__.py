"""
The operator's hands, and the door to every role: `fledx cp`, `fledx agent`, and the commands that ask a control plane.

Slow to run is allowed, slow to import is not: shell completion starts the program on every TAB. So at module level only
argparse, `errors` and this room are imported, facts are plain classes where a dataclass would cost the start (7 ms),
and a command imports what it needs when it runs. May import `client`, `tunnel`, `models`, `settings`, `errors`, and a
role's door inside the command that runs it. State: `~/.config/fledx/profiles.toml`. Read `main.py` first, then one file
of `commands/`.
"""
