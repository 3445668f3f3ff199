"""The base of the tables of hybrid.toml: what is unknown is refused, fields explain themselves."""

from pydantic import BaseModel, ConfigDict

__all__ = ["Table"]


class Table(BaseModel):
    """One table; the docstrings of its fields are its reference in docs/configuration.md."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
