"""Recorded traffic, attacked: by somebody who has nothing else, or in an audit that is scored by the truth."""
