"""Recurrent networks written out by hand: every gate, every state and every gradient term can be looked at.

Start reading at ``scratchnet/cells/lstm.py``.  Importing this package imports NumPy and nothing else of weight.
"""

__version__ = "0.1.0"
