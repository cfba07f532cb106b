"""An origin that sends bytes as the table has them, and keeps what it is asked byte by byte. A thread per connection."""

import hashlib
import json
import socket
import threading
import time

from . import answers
from .seen import Asked, in_origin_form
from .wire import Broken, Conversation, chunks_of


class Script:
    """Listens on a free port until `end`."""

    name = "script"

    def __init__(self):
        self.asked, self.lock = [], threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]
        self.open = set()
        threading.Thread(target=self.accept, daemon=True).start()

    def end(self):
        self.listener.close()
        for sock in list(self.open):
            sock.close()

    def mark(self):
        with self.lock:
            return len(self.asked)

    def since(self, mark, count, patience_secs=2):
        """What was asked since; waits for as many."""
        end = time.monotonic() + patience_secs
        while True:
            with self.lock:
                found = self.asked[mark:]
            if len(found) >= count or time.monotonic() > end:
                return found
            time.sleep(0.005)

    def accept(self):
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.open.add(sock)
            threading.Thread(target=self.talk, args=(sock,), daemon=True).start()

    def talk(self, sock):
        try:
            with Conversation(self.port, sock) as talk:
                sock.settimeout(None)
                while self.one(talk):
                    pass
        except (Broken, OSError, ValueError):
            pass
        finally:
            self.open.discard(sock)

    def one(self, talk):
        """One request and its answer; whether the connection goes on."""
        line, fields = talk.head()
        method, target, _ = line.split(" ", 2)
        said = {name.lower(): value for name, value in fields}
        path = in_origin_form(target).split("?")[0]
        refuses = path == "/refuse"
        if said.get("expect") and path not in ("/refuse", "/reject", "/expect-hints", "/silent"):
            talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        elif said.get("expect") and path == "/expect-hints":
            talk.send(b"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n")
        if path == "/reject":
            # Before the body is read, which is then taken in and thrown away.
            talk.send(b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno.\n")
            talk.rest()
            return False
        trailers, body = [], b""
        if refuses and said.get("expect"):
            pass  # refused before it is sent (RFC 9110 10.1.1)
        elif "transfer-encoding" in said:
            body = b"".join(talk.chunks())
            trailers = talk.trailers
        elif "content-length" in said:
            body = talk.exactly(int(said["content-length"]))
        with self.lock:
            self.asked.append(Asked(method, target, fields, hashlib.sha256(body).hexdigest(), len(body), trailers))
        if refuses:
            talk.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\nConnection: close\r\n\r\nno.\n")
            return False
        if path.startswith("/answer/"):
            return self.answer(talk, method, answers.ANSWERS[path.split("/")[2]])
        shown = json.dumps({"method": method, "target": target, "sha256": hashlib.sha256(body).hexdigest(), "bytes": len(body)}).encode()
        return self.answer(talk, method, answers.answer(("Cache-Control", "no-store"), kind="application/json", body=shown))

    def answer(self, talk, method, given):
        if "wire" in given:
            bytes_, head_end = given["wire"], given["wire"].index(b"\r\n\r\n") + 4
            talk.send(bytes_[:head_end] if method == "HEAD" else bytes_)
            return given.get("stays", False)
        lines = []
        for status, fields in given.get("early", ()):
            lines += [f"HTTP/1.1 {status} Early", *(f"{name}: {value}" for name, value in fields), ""]
        reason = given.get("reason", "As Asked" if given["status"] != 200 else "OK")
        lines += [f"HTTP/1.1 {given['status']} {reason}", *(f"{name}: {value}" for name, value in given["fields"])]
        if not any(name.lower() == "date" for name, _ in given["fields"]):
            lines.append("Date: " + time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime()))
        bodiless = given["status"] in (204, 304)
        if "pieces" in given:
            lines.append("Transfer-Encoding: chunked")
        elif not bodiless:
            lines.append(f"Content-Length: {len(given['body'])}")
        talk.send("\r\n".join([*lines, "", ""]).encode("latin-1"))
        if method == "HEAD" or bodiless:
            return True
        talk.send(chunks_of(given["pieces"], given.get("trailers", ())) if "pieces" in given else given["body"])
        return True
