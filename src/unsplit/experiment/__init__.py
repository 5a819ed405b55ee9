"""Experiments play all parties: they train, observe, attack and score."""

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
