"""Experiments play all parties: they train, observe, attack and score."""

from typing import TYPE_CHECKING

from unsplit.lazily import loading

if TYPE_CHECKING:
    from unsplit.experiment.auditing import Audit, AuditConfig, Stages, audit, load_audit_config
    from unsplit.results import AuditResult, InversionRow, LabelRow

__all__ = [
    "Audit",
    "AuditConfig",
    "AuditResult",
    "InversionRow",
    "LabelRow",
    "Stages",
    "audit",
    "load_audit_config",
]

_HOMES = {
    "unsplit.experiment.auditing": ("Audit", "AuditConfig", "Stages", "audit", "load_audit_config"),
    "unsplit.results": ("AuditResult", "InversionRow", "LabelRow"),
}

if not TYPE_CHECKING:
    __getattr__ = loading(__name__, _HOMES)
