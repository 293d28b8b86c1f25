"""
A small web app in a container image that is made from this machine's own Python, without any registry.

For the demo, the tests and the benchmarks. Imports `fledx.errors` only and keeps no state: what it makes is an image in
the engine. `image` is the door, read it first: it hands the engine what `rootfs` gathers from this machine. `app` is
what runs inside the image and imports nothing of fledx.
"""
