"""Values that know about absence: what a contributor's data did, against the same training with less of it."""
