"""The numbered SQL files that `migrate.py` applies; a file that has been released is never edited."""
