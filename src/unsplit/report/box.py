"""The verdict as the pages show it: three scores with bars and words, how sure they are, what the attacks assume."""

from collections.abc import Sequence

from unsplit.report._findings import Level
from unsplit.report.numbers import on_scale
from unsplit.results import AuditResult, ThreatModelRow
from unsplit.verdict import Score, Verdict
from unsplit.verdict.scale import GRADES, IN_PART, RECOGNISABLY, SHAPE_ONLY

TITLES = {"inputs": "Inputs", "model": "Model", "labels": "Labels"}
_GOALS = {"inputs": ("inputs",), "model": ("clone", "head"), "labels": ("labels", "targets")}
STRONGER = "Not recovered by these attacks: stronger ones, or ones that know more, may succeed."


def box(result: AuditResult, verdict: Verdict) -> dict[str, object]:
    """What the template `verdict.html.j2` needs."""
    entries = [{"score": score, "assumes": assumes(score, result.threat_models)} for score in verdict.scores]
    return {"verdict": verdict, "entries": entries, "titles": TITLES, "bands": bands(verdict), "stronger": STRONGER}


def tone(score: Score) -> Level:
    """How serious a score is."""
    if score.score is None:
        return "unknown"
    if score.score >= RECOGNISABLY:
        return "high"
    if score.score >= IN_PART or score.grade == SHAPE_ONLY:
        return "some"
    # A failure of which we are not sure must not look like good news.
    return "unknown" if score.sure == "low" else "none"


def words(score: Score) -> str:
    """The grade in a phrase that claims no more than was tried."""
    if score.score is None:
        return score.grade
    return f"{score.grade} by these attacks" if score.grade == GRADES[4] else f"recovered {score.grade}"


def figure(score: Score) -> str:
    """The score, and its interval where there is one."""
    known = score.score is not None and score.low is not None and score.high is not None
    return on_scale(score.score) + (f" ({on_scale(score.low)} to {on_scale(score.high)})" if known else "")


def bands(verdict: Verdict) -> str:
    """The scale in one sentence."""
    parts = [f"{band.word} from {band.at_least:g}" for band in verdict.scale[:-1]]
    return f"{', '.join(parts)}, {verdict.scale[-1].word} below {verdict.scale[-2].at_least:g}"


def assumes(score: Score, models: Sequence[ThreatModelRow]) -> tuple[str, ...]:
    """What the attacks on this asset read and know, each once."""
    about = [model for model in models if any(goal in model.goal for goal in _GOALS[score.asset])]
    reads = [f"reads {kind.replace('_', ' ')}" for model in about for kind in model.reads]
    knows = [f"knows {known}" for model in about for known in model.knows]
    granted = [f"takes for granted that {assumed}" for model in about for assumed in model.assumes]
    return tuple(dict.fromkeys([*reads, *knows, *granted]))
