"""A deploy of nothing: pyinfra starts, connects and ends."""
