"""Text of others, which may be meant to harm whoever reads it."""


def one_line(text: str) -> str:
    """Return a text as one line with nothing in it that a terminal would obey."""
    visible = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(visible.split())
