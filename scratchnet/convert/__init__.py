"""The border to other libraries: their layouts, names and orders end here."""
