"""The server and the clients of `training.yaml`, for Flower."""

from pathlib import Path

from unsplit.flower import client_app, server_app
from unsplit.protocol.remote import read_config

CONFIG = read_config(Path(__file__).with_name("training.yaml"))
# What is kept: the server's transcript, and states from which another run goes on. Remove it to train anew.
RUNS = Path.home() / "unsplit-flower"

server = server_app(CONFIG, folder=RUNS / "server")
client = client_app(CONFIG, folder=RUNS / "clients")
