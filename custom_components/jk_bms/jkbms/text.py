"""Sanitise untrusted text before printing or logging it."""


def url_failure(err: ValueError) -> str:
    """Return why a text is not a URL, without quoting it: it may contain a password."""
    if str(err).startswith("Port out of range"):
        return "The port of the URL is out of range, which is 0 to 65535"
    return "This is not a URL"


def one_line(text: str) -> str:
    """Return a text as one line without control characters."""
    visible = "".join(char if char.isprintable() else " " for char in text)
    return " ".join(visible.split())
