"""
The full-screen view of `status --watch` and `deployments watch`: what is shown, and how it comes to the screen.

`model.py` is pure: items in, rows out. `feed.py` reads streams on threads of its own. `app.py`, `detail.py` and
`node.py` know the terminal library, which is loaded by the command that shows the view and by nothing else.
"""
