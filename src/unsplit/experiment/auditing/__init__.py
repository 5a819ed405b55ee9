"""An audit: train split, attack what the server sees, infer labels, score it all."""

from unsplit.experiment.auditing.config import AuditConfig, load_audit_config
from unsplit.experiment.auditing.run import Audit, Stages, audit

__all__ = ["Audit", "AuditConfig", "Stages", "audit", "load_audit_config"]
