"""An audit: train split, attack what the server sees, infer labels, score it all."""

from typing import TYPE_CHECKING

from unsplit.experiment.auditing.config import AuditConfig, load_audit_config
from unsplit.lazily import loading

if TYPE_CHECKING:
    from unsplit.experiment.auditing.run import Audit, Stages, audit

__all__ = ["Audit", "AuditConfig", "Stages", "audit", "load_audit_config"]

if not TYPE_CHECKING:
    __getattr__ = loading(__name__, {"unsplit.experiment.auditing.run": ("Audit", "Stages", "audit")})
