"""One experiment a module: ``TITLE`` and ``report(run, size) -> Report``, `size` being quick, default or full."""
