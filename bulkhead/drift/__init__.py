"""Drift: what on the hosts differs from what the inventory describes.

`finding` is one difference, `report` all of one run over a fleet.
"""
