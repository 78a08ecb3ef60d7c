"""What a course needs besides the library: the mistakes people make, as data."""
