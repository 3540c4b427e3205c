"""What is old leaves the database as files, a window at a time, and comes back when it is asked for."""
