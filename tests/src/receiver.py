"""A receiver of newline-delimited JSON that knows nothing of who sends it.

It asks for a client certificate over TLS, appends each whole line to a file and never sends a
byte. When how much of the file was there stands beside it, in FILE.arrivals. What happens to it
is printed, a JSON object a line.

usage: receiver.py PORT CA CERTIFICATE KEY FILE TICKETS VERSION
"""

import json
import socket
import ssl
import sys
import threading
import time


def say(event, **fields):
    print(json.dumps({"event": event, **fields}), flush=True)


def receive(context, plain, file, arrivals, lock):
    try:
        stream = context.wrap_socket(plain, server_side=True)
    except (ssl.SSLError, OSError) as error:
        say("refused", reason=str(error))
        plain.close()
        return
    names = [value for _, value in stream.getpeercert().get("subjectAltName", ())]
    say("accepted", version=stream.version(), names=names)
    rest = b""
    try:
        while True:
            piece = stream.recv(1 << 16)
            if not piece:
                break
            now = time.time_ns()
            *lines, rest = (rest + piece).split(b"\n")
            with lock:
                file.write(b"".join(line + b"\n" for line in lines))
                arrivals.write(b"%d %d\n" % (file.tell(), now))
        say("closed", unfinished=len(rest))
    except OSError as error:
        say("broken", reason=str(error), unfinished=len(rest))
    finally:
        stream.close()


def cut_unfinished_line(path):
    """A kill may have come amid a write."""
    with open(path, "a+b") as file:
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)


def main():
    port, authority, certificate, key, path, tickets, version = sys.argv[1:]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    context.verify_mode = ssl.CERT_REQUIRED
    context.num_tickets = int(tickets)
    context.load_verify_locations(authority)
    context.load_cert_chain(certificate, key)
    listener = socket.create_server(("127.0.0.1", int(port)))
    lock = threading.Lock()
    cut_unfinished_line(path)
    with open(path, "ab", buffering=0) as file, open(
        path + ".arrivals", "ab", buffering=0
    ) as arrivals:
        say("listening", port=listener.getsockname()[1])
        while True:
            plain, _ = listener.accept()
            threading.Thread(
                target=receive,
                args=(context, plain, file, arrivals, lock),
                daemon=True,
            ).start()


main()
