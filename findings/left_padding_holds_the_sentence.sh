#!/usr/bin/env bash
# transformers 5.23.0: a causal model (Llama's architecture, random weights), cut behind its first block, a sentence with
# padding on its left.
#
# Guess, before running: at a padded position, before the sentence, a causal model has read nothing of it; what crosses
# there is the same whatever the sentence is, and the two implementations of attention agree.
#
# Seen: they don't. "sdpa" gives a padded position nothing, as guessed. "eager" gives it the mean over *all* positions,
# the later ones too: it changes with the sentence's last word, and does not change when the sentence is turned round. It
# is the bag of the sentence's words. The sentence's own positions are causal in both.
#
#   eager, padded: last word changed 0.0046, sentence reversed 0.0000; first word's position: 0.0000
#   sdpa, padded: last word changed 0.0000, sentence reversed 0.0000; first word's position: 0.0000
#
# For unsplit: padded positions are part of what the other side gets. With "eager" even a server that is sent the padding
# alone learns which words the sentence has; drop padded positions before they cross. An attack that decodes word by
# word from the left needs the implementation that the client used, and may skip what is padded.
set -euo pipefail
source "$(dirname "$0")/common.sh"
installed torch==2.13.0 numpy==2.4.6 transformers==5.23.0
observed <<'PY'
import torch
from still import still
from transformers import LlamaConfig, LlamaModel

padding, words = torch.zeros(1, 3, dtype=torch.long), torch.randint(5, 60, (1, 6), generator=torch.manual_seed(0))
changed = words.clone()
changed[0, -1] += 1
mask = torch.tensor([[0] * 3 + [1] * 6])
seen = {}
for attention in ("eager", "sdpa"):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaModel(LlamaConfig(vocab_size=64, attn_implementation=attention, **sizes)).eval()

    @torch.no_grad()
    def crossing(sentence: torch.Tensor) -> torch.Tensor:
        ids = torch.cat([padding, sentence], dim=1)
        return model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[1][0]

    one, other, turned = crossing(words), crossing(changed), crossing(words.flip(1))
    pads = slice(0, 3)
    seen[attention] = [
        float((one - other)[pads].abs().max()),
        float((one - turned)[pads].abs().max()),
        float((one - other)[3].abs().max()),
    ]
    print(
        f"{attention}, padded: last word changed {seen[attention][0]:.4f}, sentence reversed {seen[attention][1]:.4f};"
        f" first word's position: {seen[attention][2]:.4f}"
    )
still(
    seen["eager"][0] > 1e-3
    and seen["eager"][1] < 1e-6
    and seen["eager"][2] == 0
    and max(seen["sdpa"]) == 0
)
PY
