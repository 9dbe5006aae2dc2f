"""Text of others, which may be meant to harm whoever reads it."""


def url_trouble(err: ValueError) -> str:
    """Say why a text is no URL, without a word of it: there may be a password in it."""
    if str(err).startswith("Port out of range"):
        return "The port of the URL is out of range, which is 0 to 65535"
    return "This is not a URL"


def one_line(text: str) -> str:
    """Return a text as one line with nothing in it that a terminal would obey."""
    visible = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(visible.split())
