"""An error in two parts: a sentence that anyone may read, and details about files of this machine."""


class LocalError(ValueError):
    """The message is both parts. `plain` is what a server tells its clients, who may not know its files."""

    def __init__(self, plain: str, details: str) -> None:
        """
        Args:
            plain: a sentence without its full stop.
            details: whole sentences, such as those that name a file, or a command that helps.
        """
        super().__init__(plain, details)
        self.plain = plain

    def __str__(self) -> str:
        return ". ".join(self.args)
