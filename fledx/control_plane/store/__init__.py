"""
The control plane's memory: one SQLite file.

`database.py` owns the file and its one writer; one further file a table holds that table's SQL as functions over a
connection, so that a use case can put several into one transaction. May import models, errors, sealing and the
scheduler (whose board `snapshot.py` builds); state is the database. Read `database.py` first, then
`migrations/0001_first.sql`.
"""
