"""Text of strangers, made fit for terminals, XML and tables."""

JOINERS = "\u200c\u200d"  # belong to the spelling of Persian, Indic and other words


def plain(text: str, most: int, lines: bool = True) -> str:
    """Return the text with everything that does not print written as an escape, and cut.

    Control characters, escape sequences, half of a surrogate pair and U+FFFE end an XML file, or
    change what a terminal shows.

    Parameters
    ----------
    text
        Whatever somebody has written.
    most
        The number of characters to keep.
    lines
        Whether line breaks and tabs stay.

    Examples
    --------
    >>> plain("red: \\x1b[31m", 80)
    'red: \\\\x1b[31m'
    >>> plain("0123456789", 4)
    '0123 ...'
    """
    kept = "\n\t" + JOINERS if lines else JOINERS
    cut = text if len(text) <= most else f"{text[:most]} ..."
    return "".join(
        c if c.isprintable() or c in kept else c.encode("unicode_escape").decode() for c in cut
    )
