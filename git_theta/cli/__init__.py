"""The command line: one verb a file; parse, call one flow, print. Only here are click and the environment known."""
