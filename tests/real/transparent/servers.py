"""What answers: the origins, each a process of its own (but the script), and one larder in front of each."""

import json
import os
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time

from . import answers
from .clients import NotHere
from .script import Script
from .seen import Asked

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent.parent
PATIENCE_SECS = 20
MODIFIED = 784111777  # the time that RFC 9110 likes


class Origin:
    """A server on a free port. `asks` tells what it was asked, where it can tell."""

    def __init__(self, name, folder, command, environment):
        self.name, self.port = name, free_port()
        self.log, self.seen_log = folder / f"{name}.log", folder / f"{name}.seen"
        self.seen_log.touch()
        self.tells = False
        command = [str(word).replace("{port}", str(self.port)) for word in command]
        environment = {**os.environ, "LOG": str(self.seen_log), **environment}
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=self.log.open("ab"), stderr=subprocess.STDOUT, env=environment, cwd=folder, start_new_session=True)
        wait_for(f"{name} to listen", lambda: self.alive() and listens(self.port))

    def alive(self):
        if self.process.poll() is not None:
            raise NotHere(f"{self.name} ended at once: {self.log.read_text()[-300:]}")
        return True

    def end(self):
        end_group(self.process)

    def mark(self):
        return self.seen_log.stat().st_size

    def since(self, mark, count, patience_secs=2):
        """What was asked since; waits for as many."""
        end = time.monotonic() + patience_secs
        while True:
            with self.seen_log.open() as log:
                log.seek(mark)
                lines = log.read()
            lines = lines[: lines.rfind("\n") + 1].splitlines()
            if len(lines) >= count or time.monotonic() > end:
                return [asked(json.loads(line)) for line in lines]
            time.sleep(0.005)


def asked(line):
    return Asked(line["method"], line["target"], [tuple(pair) for pair in line["fields"]], line["body"], line["body_bytes"], line.get("trailers"))


def telling(origin):
    origin.tells = True
    return origin


class Servers:
    """All that can be had; `missing` says of each other one why not."""

    def __init__(self, folder, bin_folder):
        self.folder, self.bin = folder, bin_folder
        self.here, self.missing = {}, {}
        self.files = folder / "files"
        write_files(self.files)
        (folder / "answers.json").write_text(json.dumps(answers.as_json()))
        self.environment = {"ANSWERS": str(folder / "answers.json"), "FILES": str(self.files), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(folder)}

    def start(self, names):
        for name in names:
            if name in self.here or name in self.missing:
                continue
            try:
                self.here[name] = getattr(self, name.replace("-", "_"))()
            except NotHere as why:
                self.missing[name] = str(why)

    def end(self):
        for origin in self.here.values():
            origin.end()

    def origin(self, name, *command, **environment):
        return Origin(name, self.folder, command, {**self.environment, **environment})

    def of_pip(self, command):
        path = self.bin / command
        if not path.exists():
            raise NotHere(f"{command} is not installed")
        return path

    # --- Ours ---

    def script(self):
        script = Script()
        script.tells = True
        return script

    def node(self):
        node = shutil.which("node")
        if not node:
            raise NotHere("node is not installed")
        return telling(self.origin("node", node, "--no-warnings", HERE / "node.mjs", "{port}"))

    def uvicorn(self):
        return telling(self.origin("uvicorn", self.of_pip("uvicorn"), "--port", "{port}", "--http", "httptools", "--ws", "websockets-sansio", "--log-level", "warning", "--timeout-keep-alive", "30", "asgi:app", PYTHONPATH=str(HERE)))

    def uvicorn_h11(self):
        return telling(self.origin("uvicorn-h11", self.of_pip("uvicorn"), "--port", "{port}", "--http", "h11", "--ws", "wsproto", "--log-level", "warning", "--timeout-keep-alive", "30", "asgi:app", PYTHONPATH=str(HERE)))

    def hypercorn(self):
        return telling(self.origin("hypercorn", self.of_pip("hypercorn"), "--bind", "127.0.0.1:{port}", "--keep-alive", "30", "asgi:app", PYTHONPATH=str(HERE)))

    # --- Of others ---

    def httpbin(self):
        return self.origin("httpbin", self.of_pip("gunicorn"), "--bind", "127.0.0.1:{port}", "--worker-class", "gthread", "--threads", "8", "--keep-alive", "30", "httpbin:app")

    def aiohttp_files(self):
        self.of_pip("python")
        return self.origin("aiohttp-files", self.bin / "python", HERE / "files.py", "{port}", self.files)

    def http_server(self):
        """Python's own, which speaks HTTP/1.0 and ends each answer by closing."""
        return self.origin("http-server", sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", self.files, "{port}")

    def nginx(self):
        nginx = shutil.which("nginx") or shutil.which("/usr/sbin/nginx") or self.unpacked("nginx", "nginx-core", "nginx-light", holding="usr/sbin/nginx")
        config = self.folder / "nginx.conf"
        port = free_port()
        config.write_text(NGINX % {"user": "user root;" if os.geteuid() == 0 else "", "folder": self.folder, "files": self.files, "port": port})
        origin = Origin.__new__(Origin)
        origin.name, origin.port, origin.tells = "nginx", port, False
        origin.log = self.folder / "nginx.log"
        origin.process = subprocess.Popen([nginx, "-c", config, "-e", origin.log], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True)
        wait_for("nginx to listen", lambda: origin.alive() and listens(port))
        return origin

    def websockets(self):
        self.of_pip("python")
        return self.origin("websockets", self.bin / "python", HERE / "echo.py", "{port}")

    def prometheus(self):
        binary = shutil.which("prometheus") or self.unpacked("prometheus", holding="usr/bin/prometheus")
        config = self.folder / "prometheus.yml"
        config.write_text("global: {}\n")
        origin = self.origin("prometheus", binary, f"--config.file={config}", f"--storage.tsdb.path={self.folder / 'tsdb'}", "--web.listen-address=127.0.0.1:{port}")
        wait_for("Prometheus to be ready", lambda: subprocess.run(["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{origin.port}/-/ready"], check=False).returncode == 0)
        return origin

    def unpacked(self, *packages, holding):
        """A program out of the first Debian package that has it, without installing that: it would start a service."""
        why = "no package has it"
        for package in packages:
            try:
                folder = self.folder / f"package-{package}"
                folder.mkdir()
                subprocess.run(["apt-get", "download", "-qq", package], cwd=folder, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=120)
                (file,) = folder.glob("*.deb")
                subprocess.run(["dpkg", "-x", file, folder], check=True, capture_output=True)
                if (folder / holding).exists():
                    return folder / holding
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                why = error
        raise NotHere(f"{packages[0]} is not installed, and there is no package of it ({why})")


# `gzip_proxied`: by itself it packs nothing for a request with `Via`, which a gateway has to send (RFC 9110 7.6.3).
NGINX = """
%(user)s daemon off; pid %(folder)s/nginx.pid; error_log %(folder)s/nginx.log warn; worker_processes 1;
events {}
http {
  access_log off; types { text/plain txt; text/html html; text/css css; application/octet-stream bin; } charset utf-8;
  client_body_temp_path %(folder)s/nginx-1; proxy_temp_path %(folder)s/nginx-2; fastcgi_temp_path %(folder)s/nginx-3;
  uwsgi_temp_path %(folder)s/nginx-4; scgi_temp_path %(folder)s/nginx-5;
  server {
    listen 127.0.0.1:%(port)d; root %(files)s; autoindex on; keepalive_timeout 30s;
    location /packed/ { alias %(files)s/; gzip on; gzip_types *; gzip_min_length 10; gzip_vary on; gzip_proxied any; expires 60s; }
    location /kept/ { alias %(files)s/; expires 60s; add_header X-Kept "1" always; }
    location /moved/ { return 301 /small.txt; }
    location /guarded/ { return 401; }
    error_page 404 /missing.html;
  }
}
"""


def write_files(folder):
    folder.mkdir()
    (folder / "deep").mkdir()
    numbers = b"".join(b"%07d\n" % n for n in range(1 << 17))
    for name, content in {
        "small.txt": b"A small file.\n",
        "empty.txt": b"",
        "index.html": b"<!doctype html><title>start</title><p>Start.\n",
        "page.html": b"<!doctype html><title>page</title>" + b"<p>A line of a page.\n" * 80,
        "style.css": b"p { color: red }\n" * 60,
        "data.bin": bytes(range(256)) * 400,
        "numbers.bin": numbers,
        "with space.txt": b"A name with a space.\n",
        "k\u00e4se.txt": "Käse\n".encode(),
        "missing.html": b"<!doctype html><title>missing</title>\n",
        "deep/index.html": b"<!doctype html><title>deep</title>\n",
    }.items():
        (folder / name).write_bytes(content)
        os.utime(folder / name, (MODIFIED, MODIFIED))


class Larder:
    """The binary in the strict profile, as `benches/outside` has it, in a folder of its own."""

    def __init__(self, binary, folder, origin_port, profile):
        folder.mkdir()
        self.port, self.admin_port = free_port(), free_port()
        self.log = folder / "larder.log"
        values = {"port": self.port, "admin_port": self.admin_port, "origin_port": origin_port, "dir": folder}
        rendered = (profile / "proxy.toml.tmpl").read_text()
        command = (profile / "command").read_text().strip()
        for name, value in values.items():
            rendered, command = (text.replace("{%s}" % name, str(value)) for text in (rendered, command))
        (folder / "proxy.toml").write_text(rendered)
        command = command.split()
        command[0] = str(binary)
        environment = {name: value for name, value in os.environ.items() if name != "RUST_LOG"}
        self.process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=self.log.open("ab"), stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        wait_for("larder to listen", self.listening)

    def listening(self):
        if self.process.poll() is not None:
            sys.exit(f"larder ended with {self.process.returncode}:\n{self.log.read_text()}")
        return listens(self.port)

    def peak_kib(self):
        """Most memory it ever had resident."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])

    def end(self):
        """By SIGTERM; its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_SECS)
            except subprocess.TimeoutExpired:
                end_group(self.process)
        return self.process.returncode


def end_group(process):
    """SIGTERM to a process and what it started, SIGKILL to what stays."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(3)
            return
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


def wait_for(what, happened, patience_secs=PATIENCE_SECS):
    end = time.monotonic() + patience_secs
    while time.monotonic() < end:
        if found := happened():
            return found
        time.sleep(0.02)
    raise TimeoutError(f"waited {patience_secs} s in vain for {what}")
