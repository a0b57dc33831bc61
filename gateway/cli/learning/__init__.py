"""What `learn` does around its rules: listen to a bus or read a log, and show what was found."""
