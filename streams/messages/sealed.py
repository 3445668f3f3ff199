"""What a sealed record is known by, and what is said where it cannot be opened."""

__all__ = ["SEAL_HEADER", "UnreadableError"]

#: On a record whose value is encrypted: how (`Seal`).
SEAL_HEADER = "hybrid-seal"


class UnreadableError(Exception):
    """Raised when sealed content cannot be opened: a code, and a sentence that says what to do."""

    def __init__(self, code: str, sentence: str) -> None:
        """Keep the code for programs."""
        super().__init__(sentence)
        self.code = code

    @property
    def is_forgotten(self) -> bool:
        """Whether nobody will ever open it."""
        return self.code == FORGOTTEN

    @classmethod
    def forgotten(cls) -> "UnreadableError":
        """Say that the key of the content's person is gone."""
        sentence = "content forgotten: the key of its person was destroyed, or has expired"
        return cls(FORGOTTEN, sentence)

    @classmethod
    def missing(cls, key_id: str) -> "UnreadableError":
        """Say that a tenant's key is in no file here."""
        sentence = (
            f"its content is encrypted with key {key_id}, which is in no file of "
            "HYBRID_CONTENT_KEYS: put it there, and start again"
        )
        return cls(MISSING, sentence)

    @classmethod
    def another(cls, key_id: str) -> "UnreadableError":
        """Say that a tenant's key is another one than that of this id."""
        sentence = (
            f"key {key_id} in the files of HYBRID_CONTENT_KEYS is not the one that was written "
            "with under this id: put the right one there"
        )
        return cls(MISSING, sentence)

    @classmethod
    def altered(cls) -> "UnreadableError":
        """Say that it is not what was sealed for this record."""
        sentence = "its content is not what was sealed for this record: it was changed, or moved"
        return cls("content_altered", sentence)


FORGOTTEN, MISSING = "content_forgotten", "content_key_missing"
