"""A Merkle log over the entries, signed checkpoints of it, and statements that carry what they rest on.

`log` and `carrying` read the books; all else needs no database.
"""
