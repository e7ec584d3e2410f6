"""What Bulkhead costs and what it is worth, measured: each module is a command, whose docstring is its method."""
