"""The prompt of a merge: asks on the terminal what shall become of each conflict."""
