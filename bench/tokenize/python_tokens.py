"""Encodes rows with Python's tokenizers, in batches: count, seconds and a hash of all ids as JSON."""

import hashlib
import json
import sys
import time
from array import array

from tokenizers import Tokenizer

tokenizer = Tokenizer.from_file(f"{sys.argv[1]}/tokenizer.json")
with open(sys.argv[2], encoding="utf8") as file:
    rows = json.load(file)
digest, tokens, seconds = hashlib.sha256(), 0, 0.0
for begin in range(0, len(rows), 1000):
    start = time.perf_counter()
    batch = tokenizer.encode_batch_fast(rows[begin : begin + 1000], add_special_tokens=False)
    seconds += time.perf_counter() - start
    for encoding in batch:
        ids = encoding.ids
        tokens += len(ids)
        digest.update(array("i", ids))
print(json.dumps({"tokens": tokens, "seconds": seconds, "hash": digest.hexdigest()}))
