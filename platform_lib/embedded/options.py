"""What does a caller say about a write besides the object? Options of one request, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class WriteOptions:
    """Options of one write.

    Attributes:
        dry_run: Do everything but save.
        field_validation: ``Strict`` refuses unknown fields, ``Warn`` names them, ``Ignore`` (default inside the
            process, where the objects come from our own code) does not look.
        manager: Field manager; only server-side apply needs one.
        force: Take fields over from other managers (server-side apply).
        warnings: Filled by the write: texts that the server sends as ``Warning`` headers.
    """

    dry_run: bool = False
    field_validation: str = "Ignore"
    manager: str = ""
    force: bool = False
    warnings: list[str] = field(default_factory=list)

    def warn(self, text: str) -> None:
        """Add a warning once."""
        if text not in self.warnings:
            self.warnings.append(text)
