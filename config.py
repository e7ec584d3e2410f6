"""pyinfra reads this file before the inventory: commands run as root, and nothing connects before the checks passed."""

from pyinfra import config, state

from bulkhead import guard

config.REQUIRE_PYINFRA_VERSION = ">=3.10,<3.11"
config.SUDO = True

guard.install(state)
