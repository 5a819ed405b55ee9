"""The same parties as apps of Flower (flwr), the engine for distributed learning: an adapter, not a second protocol."""

from unsplit.errors import InputError

try:
    import flwr  # noqa: F401
except ImportError as error:
    raise InputError("Flower is not installed; install it with `pip install unsplit[flower]`.") from error

from unsplit.flower.apps import client_app, server_app

__all__ = ["client_app", "server_app"]
