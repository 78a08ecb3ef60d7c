"""The command line: one command a file, which owns its options (``add``) and its work (``run``)."""
