"""The one exception that a user is meant to read."""


class BulkheadError(Exception):
    """Something that the user can put right.

    `message` says what is wrong and where (file, key, host); `hint` says what to do about it.
    Command lines print both and exit 1, without a traceback.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message
