"""Text of which a part comes from hosts, made harmless to whoever looks at it."""


def visible(text: str) -> str:
    """`text` with everything made visible that would steer a terminal, or show another text than there is.

    Line breaks stay, tabs become blanks.
    """
    return "".join(one if one.isprintable() or one == "\n" else f"\\x{ord(one):02x}" for one in text.expandtabs(4))
