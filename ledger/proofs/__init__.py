"""Proofs that need no database: a Merkle log over the entries, and signed checkpoints of it."""
