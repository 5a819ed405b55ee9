"""The same in one command, without `flwr run`: python simulate.py."""

from apps import CONFIG, client, server
from flwr.simulation import run_simulation

if __name__ == "__main__":
    run_simulation(
        server,
        client,
        num_supernodes=len(CONFIG.clients),
        backend_config={"init_args": {"address": "local", "num_cpus": 2}, "client_resources": {"num_cpus": 1}},
    )
