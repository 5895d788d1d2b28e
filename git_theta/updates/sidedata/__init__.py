"""Side-loaded updates: from a file of update data to what changes which parameter group. Knows no git and no store."""
