"""Conversion from other libraries: their layouts, names and orders are known only here."""
