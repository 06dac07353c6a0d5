"""gRPC's C core, with its defaults, as a client of a KMS v2 plugin: `python client.py unix:///PATH`.

Each line of standard input is `rounds N PARALLEL`, and each line of standard output is the result.
"""

import json
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import grpc


def fields(*values):
    """Encodes a protobuf message with these strings, the first with tag 1. Each must be shorter than 128 bytes."""
    return b"".join(bytes([tag << 3 | 2, len(value)]) + value for tag, value in enumerate(values, 1))


def parse(message):
    """Decodes what `fields` encodes."""
    found, at = {}, 0
    while at < len(message):
        tag, size = message[at] >> 3, message[at + 1]
        found[tag] = message[at + 2 : at + 2 + size]
        at += 2 + size
    return found


class Client:
    def __init__(self, endpoint):
        channel = grpc.insecure_channel(endpoint)
        method = lambda name: channel.unary_unary(f"/v2.KeyManagementService/{name}")
        self.status, self.encrypt, self.decrypt = map(method, ("Status", "Encrypt", "Decrypt"))

    def round(self, number):
        """Makes a Status, an Encrypt and a Decrypt call. Returns None, or the error."""
        uid, seed = str(number).encode(), b"a seed of 32 bytes, number %06d" % number
        try:
            status = parse(self.status(b""))
            encrypted = parse(self.encrypt(fields(seed, uid)))
            decrypted = parse(self.decrypt(fields(encrypted[1], uid, encrypted[2])))
        except grpc.RpcError as fault:
            return f"{fault.code().name}: {fault.details()}"
        good = status[2] == b"ok" and status[3] == encrypted[2] and decrypted[1] == seed
        return None if good else "another answer came back"


def main():
    client = Client(sys.argv[1])
    for line in sys.stdin:
        _, rounds, parallel = line.split()
        with ThreadPoolExecutor(int(parallel)) as pool:
            faults = Counter(pool.map(client.round, range(int(rounds))))
        done = faults.pop(None, 0)
        print(json.dumps({"done": done, "faults": faults}), flush=True)


main()
