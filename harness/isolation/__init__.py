"""A stranger's code in a process of its own: it sees what it is given, and what it answers is checked."""
