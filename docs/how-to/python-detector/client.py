#!/usr/bin/env python3
"""A detection system in Python: one attack that starts, grows and ends, over one stream.

Usage: client.py SERVER TLS_DIR ATTACK_ID TARGET

SERVER is host:port of a node. TLS_DIR holds ca.pem, cert.pem and key.pem, as `tidegate pki issue
detector/NAME` writes them; NAME is the source of the signals. Prints one line for each verdict:
the kind of the signal, the verdict, its code and the mitigation.
"""

import pathlib
import queue
import sys
import time

import grpc

from tidegate.v1 import mitigation_pb2, signal_pb2, signal_pb2_grpc

TIMEOUT = 30  # seconds for all of it; a detector at work keeps its stream open


def connect(server, tls_dir):
    """A channel on which both ends show a certificate of the cluster's authority."""
    tls = pathlib.Path(tls_dir)
    return grpc.secure_channel(server, grpc.ssl_channel_credentials(
        root_certificates=(tls / "ca.pem").read_bytes(),
        private_key=(tls / "key.pem").read_bytes(),
        certificate_chain=(tls / "cert.pem").read_bytes(),
    ))


class Stream:
    """Batches of signals go out, and verdicts on them come back in the same order."""

    def __init__(self, channel):
        self.batches = queue.Queue()
        self.number = 0
        stub = signal_pb2_grpc.SignalServiceStub(channel)
        self.answers = stub.StreamSignals(iter(self.batches.get, None), timeout=TIMEOUT)

    def report(self, signal):
        """Sends a signal until it is judged. The same number twice is judged once."""
        while True:
            self.number += 1
            self.batches.put(signal_pb2.StreamSignalsRequest(batch_id=self.number, signals=[signal]))
            answer = next(self.answers)
            assert answer.batch_id == self.number, "an answer to another batch"
            verdict = answer.verdicts[0]
            if verdict.kind != mitigation_pb2.VERDICT_KIND_RETRY:
                return verdict
            # Overload, or a new leader: wait as long as it says, and send it again.
            time.sleep(verdict.retry_after.ToTimedelta().total_seconds())

    def close(self):
        self.batches.put(None)
        for _ in self.answers:
            pass


def main():
    server, tls_dir, attack, target = sys.argv[1:]
    signal = signal_pb2.Signal(
        attack_id=attack,
        targets=[target],
        vector="dns_amplification",
        bits_per_second=4e9,
        packets_per_second=400_000,
        confidence=0.9,
    )
    with connect(server, tls_dir) as channel:
        stream = Stream(channel)
        for seq, kind, bits in [
            (1, signal_pb2.SIGNAL_KIND_START, 4e9),
            (2, signal_pb2.SIGNAL_KIND_UPDATE, 9e9),
            (3, signal_pb2.SIGNAL_KIND_END, 0),
        ]:
            signal.seq, signal.kind, signal.bits_per_second = seq, kind, bits
            signal.detected_at.GetCurrentTime()
            verdict = stream.report(signal)
            print(
                signal_pb2.SignalKind.Name(kind),
                mitigation_pb2.VerdictKind.Name(verdict.kind),
                verdict.code,
                verdict.mitigation or "-",
                flush=True,
            )
        stream.close()


if __name__ == "__main__":
    main()
