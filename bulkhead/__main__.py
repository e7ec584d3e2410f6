"""`python -m bulkhead` is the command `bulkhead`."""

from bulkhead.cli import main

main(prog_name="bulkhead")
