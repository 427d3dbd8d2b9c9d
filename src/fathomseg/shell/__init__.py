"""What the command line does around the verbs: the first line, completion, lists. Imports nothing heavy."""
