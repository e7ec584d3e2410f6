"""For every host."""

# The account that may use sudo without a password.
ssh_user = "ops"
