"""The library's own errors: one family, and each is also the built-in error that fits.

``except ScratchnetError`` catches what the caller can correct, such as a wrong shape or a missing
package; ``except ValueError`` works as everywhere. The command line shows the message of these
errors and the traceback of all others, which are bugs. A message states what was expected, what was
given and, where it helps, what to do.
"""


class ScratchnetError(Exception):
    """Base of all errors that the library raises on purpose."""


class InvalidValueError(ScratchnetError, ValueError):
    """An argument has the wrong shape, range or content."""


class InvalidTypeError(ScratchnetError, TypeError):
    """An argument is of the wrong type, or an array of the wrong element type or library."""


class UnknownNameError(ScratchnetError, KeyError):
    """There is nothing of this name."""

    def __str__(self) -> str:  # KeyError would put the message in quotes
        return str(self.args[0]) if self.args else ""


class OutOfRangeError(ScratchnetError, IndexError):
    """An index beyond the steps, sequences or units there are."""


class UnavailableError(ScratchnetError, RuntimeError):
    """What was asked for cannot run here or now: no kernel, no device, or not fitted yet."""


class MissingPackageError(ScratchnetError, ImportError):
    """An optional package is not installed; the message names it."""


class MissingFileError(ScratchnetError, FileNotFoundError):
    """There is no such file."""


class NotFiniteError(ScratchnetError, FloatingPointError):
    """A loss, gradient or parameter is NaN or infinite."""


class FileError(ScratchnetError, OSError):
    """A file or a folder is there and could not be read."""

    def __str__(self) -> str:  # OSError would show the number in place of the message
        return str(self.args[0]) if self.args else ""


class FileWriteError(FileError):
    """A file could not be written; what was there before is unchanged."""
