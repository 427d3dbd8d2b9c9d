"""What settings there are: their types, defaults and meanings, read from the parts themselves."""
