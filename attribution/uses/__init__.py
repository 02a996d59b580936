"""What values and scores are for, besides payment: one file a use (docs/uses.md)."""
