"""Experiments play all parties: they train, observe, attack and score."""

from unsplit.experiment.audit import Audit, Stages, audit
from unsplit.experiment.config import AuditConfig, load_audit_config
from unsplit.experiment.results import AuditResult, InversionRow, LabelRow

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
