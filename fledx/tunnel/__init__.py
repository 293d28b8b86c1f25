"""
The protocol between two fledx processes, and nothing of what either does with it.

One TCP connection that the agent (or an operator) opens carries many streams; the house sees `Link` and `Stream`:

    link = await dial(host, port, tls=client_context(pem), hello=hello, tasks=tasks, on_stream=..., on_message=...)
    stream = await link.open("logs", {"replica": 2})        # raises what the other side refused it with
    text = await stream.receive()                           # b"" after its half-close
    link.send({"type": "report", ...})                      # small control messages, in order

    listener = Listener(authenticate=..., on_link=..., tls=server_context(...), authority=pem)
    port = listener.bind("0.0.0.0", 7443)
    await listener.serve()                                  # `on_link` calls link.attend(...) and awaits link.closed()

An error a handler raises comes out at the opener as the same class; a reset never looks like an end.

Read `frames.py` and `greeting.py` first (what travels), then `session.py` (what may travel when: Sans-I/O; its streams
are in `multiplexer.py`, over `flows.py`, `credit.py` and `order.py`), then `wire.py` (the one driver: a non-blocking
socket, TLS in memory; what it sends goes by `sender.py` and `outlet.py`, at the `pace.py` of the line), then `link.py`
and `stream.py` (the edge the house uses), `splice.py` and `relay.py` (a stream to a socket or to another stream at full
speed), `dial.py`, `listen.py`, `tls.py` and `authority.py` (pinning a CA by its fingerprint).

May import models and errors. State: per link, in its `Session`; nothing is kept beyond a link's life.
"""
