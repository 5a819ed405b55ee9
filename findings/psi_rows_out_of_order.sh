#!/usr/bin/env bash
# openmined-psi 2.0.6: parties of a vertical training find the entities that they share.
#
# Guess, before running: GetIntersection returns the client's own positions in ascending order, whatever structure the
# server's message uses, so that `table[positions]` keeps the client's order.
#
# Seen: with the structures GCS and RAW they come in an order that changes with the keys, in every run another; only the
# Bloom filter's come sorted. The set is right in all three.
#
#   GCS ascending: False, right set: True
#   RAW ascending: False, right set: True
#   BLOOM_FILTER ascending: True, right set: True
#
# For unsplit: two parties that take their rows in the order of the positions train on pairs that belong to nobody, and
# rows of a recorded truth answer to other rows of the smashed data. Sort by a key that both have, then record.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed openmined-psi==2.0.6
observed <<'PY'
import private_set_intersection.python as psi
from still import still

mine = [f"patient {number}" for number in range(200)]
theirs = [f"patient {number}" for number in range(100, 300)]
ascending = {}
right = True
for name in ("GCS", "RAW", "BLOOM_FILTER"):
    client, server = psi.client.CreateWithNewKey(True), psi.server.CreateWithNewKey(True)
    setup = server.CreateSetupMessage(1e-9, len(mine), theirs, getattr(psi.DataStructure, name))
    answer = server.ProcessRequest(client.CreateRequest(mine))
    positions = client.GetIntersection(setup, answer)
    ascending[name] = positions == sorted(positions)
    agrees = sorted(positions) == list(range(100, 200))
    right &= agrees
    print(f"{name} ascending: {ascending[name]}, right set: {agrees}")
still(right and ascending == {"GCS": False, "RAW": False, "BLOOM_FILTER": True})
PY
