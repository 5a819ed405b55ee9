"""The verdict on an audit: what leaked of each asset, on one scale, how sure that is, and the conditions of a build."""

from unsplit.verdict._verdict import ASSETS, FORMULAS, Asset, Band, Outcome, Score, Verdict, verdict
from unsplit.verdict.scale import BANDS, GRADES

__all__ = ["ASSETS", "BANDS", "FORMULAS", "GRADES", "Asset", "Band", "Outcome", "Score", "Verdict", "verdict"]
