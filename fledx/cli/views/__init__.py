"""
What was read, as text: pure functions from the API's plain dicts to tables, screens, JSON and YAML.

Every text that a user or a container wrote is made harmless here. Imports `models.moment` and `errors`; no state.
Read `table.py` first.
"""
