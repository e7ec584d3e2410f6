"""Bulkhead: provisions, hardens, verifies and watches the hosts that run untrusted agents.

This package holds the command line and what belongs to no single deploy; each capability is a folder of `deploys`.
"""
