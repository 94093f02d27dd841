"""Credentials in error messages are hidden, as the Functions host does before anything else sees the text."""

_TOKENS = (
    "Token=",
    "DefaultEndpointsProtocol=http",
    "AccountKey=",
    "Data Source=",
    "Server=",
    "Password=",
    "pwd=",
    "&amp;sig=",
    "&sig=",
    "?sig=",
    "SharedAccessKey=",
    "&amp;code=",
    "&code=",
    "?code=",
)
_HIDDEN = "[Hidden Credential]"
_ENDS = "<\"'"


def hide_credentials(text: str) -> str:
    """The text with everything from such a token to the next quote or bracket, or to the end, hidden."""
    for token in _TOKENS:
        start = text.lower().find(token.lower())
        while start >= 0:
            end = min((at for mark in _ENDS if (at := text.find(mark, start)) >= 0), default=len(text))
            text = text[:start] + _HIDDEN + text[end:]
            start = text.lower().find(token.lower(), start + len(_HIDDEN))
    return text
