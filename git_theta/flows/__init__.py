"""The stories of Git-Theta, one function each: clean, smudge, merge, fetch, push."""
