"""The commands: one file each, imported only when its command is called. Fields are flags, docstrings are help."""
