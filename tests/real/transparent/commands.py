"""Flows of commands: what people type, in a folder of its own, and what it leaves there."""

import hashlib
import pathlib
import re
import shutil
import subprocess
import tempfile

from .clients import NotHere, heads
from .echoed import without_gateway
from .flow import Flow, speaks_http2
from .seen import Seen

SHOWN = "%{http_code} %{size_download} %{num_redirects} %{content_type}"
COMMANDS = [
    # (subject, server, client, commands in one folder)
    ("a download that goes on", "aiohttp-files", "curl", ["curl -s -r 0-999 -o part {url}/data.bin", "curl -s -C - -o part {url}/data.bin -D head"]),
    ("a download that goes on", "aiohttp-files", "wget", ["wget -q --start-pos=0 -O all {url}/data.bin", "truncate -s 1000 all", "wget -q -c -O all {url}/data.bin"]),
    ("a download that goes on", "uvicorn", "curl", ["curl -s -r 0-999 -o part {url}/plain-files/data.bin", "curl -s -C - -o part {url}/plain-files/data.bin -D head"]),
    ("a download that goes on", "nginx", "wget", ["wget -q -O all {url}/data.bin", "truncate -s 1000 all", "wget -q -c -O all {url}/data.bin"]),
    ("ranges in one answer", "aiohttp-files", "curl", ["curl -s -r 0-9,20-29 -o part {url}/data.bin -w '%s'" % SHOWN]),
    ("only if newer", "aiohttp-files", "curl", ["curl -s -R -o all {url}/data.bin", "curl -s -z all -o all {url}/data.bin -w '%s'" % SHOWN]),
    ("only if newer", "http-server", "curl", ["curl -s -R -o all {url}/data.bin", "curl -s -z all -o all {url}/data.bin -w '%s'" % SHOWN]),
    ("only if newer", "uvicorn", "wget", ["wget -q -N {url}/plain-files/data.bin", "wget -q -N {url}/plain-files/data.bin"]),
    ("only if newer", "http-server", "wget", ["wget -q -N {url}/data.bin", "wget -q -N {url}/data.bin"]),
    ("only if changed", "uvicorn", "curl", ["curl -s --etag-save tag -o all {url}/plain-files/data.bin", "curl -s --etag-compare tag -o all2 {url}/plain-files/data.bin -w '%s'" % SHOWN]),
    ("only if changed", "httpbin", "curl", ["curl -s --etag-save tag -o all {url}/etag/abc", "curl -s --etag-compare tag -o all2 {url}/etag/abc -w '%s'" % SHOWN]),
    ("a mirror of a folder", "http-server", "wget", ["wget -q -r -np -nH {url}/"]),
    ("a mirror of a folder", "nginx", "wget", ["wget -q -r -np -nH {url}/"]),
    ("a form", "httpbin", "curl", ["curl -s -F a=1 -F 'f=@{files}/small.txt;type=text/x-own;filename=n.txt' {url}/post -o got"]),
    ("a form of a large file", "uvicorn", "curl", ["curl -s -F f=@{files}/numbers.bin {url}/form -o got -w '%s'" % SHOWN]),
    ("a file put", "node", "curl", ["curl -s -T {files}/numbers.bin {url}/echo/put -o got"]),
    ("a file put over HTTP/2", "hypercorn", "curl-h2", ["curl -s --http2-prior-knowledge -T {files}/numbers.bin {url}/echo/put -o got"]),
    ("a file put from a pipe", "node", "curl", ["cat {files}/numbers.bin | curl -s -T - {url}/echo/put -o got"]),
    ("an upgrade to HTTP/2 offered", "node", "curl", ["curl -s --http2 {url}/answer/plain?a -o got -w '%s'" % SHOWN]),
    ("an upgrade to HTTP/2 offered", "hypercorn", "curl", ["curl -s --http2 {url}/answer/plain?a -o got -w '%s'" % SHOWN]),
    ("an upgrade to HTTP/2 offered with a body", "node", "curl", ["curl -s --http2 -d abc {url}/echo?a -o got -w '%s'" % SHOWN]),
    ("any way to log in", "httpbin", "curl", ["curl -s --anyauth -u user:pass {url}/digest-auth/auth/user/pass -o got -w '%s'" % SHOWN]),
    ("any way to log in", "node", "curl", ["curl -s --anyauth -u user:pa:ss {url}/guarded -o got -w '%s'" % SHOWN]),
    ("log in by wget", "httpbin", "wget", ["wget -q -O got --user=user --password=pass {url}/basic-auth/user/pass"]),
    ("cookies kept in a file", "httpbin", "curl", ["curl -s -L -c jar {url}/cookies/set?k=v -o got", "curl -s -b jar {url}/cookies -o got2"]),
    ("a transfer coding asked for", "node", "curl", ["curl -s --tr-encoding {url}/answer/plain?tr -o got -w '%s'" % SHOWN]),
    ("a query made of data", "httpbin", "curl", ["curl -s -G -d a=1 --data-urlencode 'b=ä &' {url}/get -o got"]),
    ("all that redirects to it", "httpbin", "curl", ["curl -s -L {url}/redirect/5 -o got -w '%s'" % SHOWN]),
    ("a head and no body", "aiohttp-files", "curl", ["curl -s -I {url}/data.bin -o got.head -w '%s'" % SHOWN]),
    ("a spider", "http-server", "wget", ["wget --spider -r -np -nH -nv {url}/"]),
    ("over HTTP/1.0", "node", "curl", ["curl -s --http1.0 {url}/answer/chunks?ten -o got -w '%s'" % SHOWN, "curl -s --http1.0 {url}/answer/plain?ten -o got2"]),
    ("over HTTP/1.0", "uvicorn", "curl", ["curl -s --http1.0 {url}/answer/chunks?ten -o got -w '%s'" % SHOWN]),
    ("over HTTP/1.0", "http-server", "curl", ["curl -s --http1.0 {url}/small.txt -o got -w '%s'" % SHOWN]),
    ("several with one command", "node", "curl", ["curl -s {url}/answer/plain?s {url}/answer/404?s {url}/answer/chunks?s {url}/things/kepts1 -w '%s'" % SHOWN]),
    ("several with one command over HTTP/2", "hypercorn", "curl-h2", ["curl -s --http2-prior-knowledge --parallel -o 1 {url}/answer/plain?p -o 2 {url}/answer/404?p -o 3 {url}/answer/large?p"]),
]


def commands():
    return [Flow(subject, server, client, by_commands(client, lines)) for subject, server, client, lines in COMMANDS]


def by_commands(client, lines):
    program = client.split("-")[0]

    def run(context):
        if not shutil.which(program):
            raise NotHere(f"{program} is not installed")
        got = {}
        with tempfile.TemporaryDirectory(prefix="larder-commands-") as folder:
            folder = pathlib.Path(folder)
            for n, line in enumerate(lines):
                if "--http2-prior-knowledge" in line and not speaks_http2(context.port):
                    line = line.replace("--http2-prior-knowledge", "--http1.1")
                line = line.replace("{url}", f"http://127.0.0.1:{context.port}").replace("{files}", str(context.files))
                out = subprocess.run(["bash", "-c", line], cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
                got[f"exit {n}"], got[f"output {n}"] = out.returncode, out.stdout
            for path in sorted(folder.rglob("*")):
                name = str(path.relative_to(folder))
                if path.is_dir() or name == "jar":
                    continue
                if name.endswith("head"):
                    got[name] = heads(path.read_text("latin-1"))
                else:
                    shown = Seen(body=path.read_bytes())
                    without_gateway(shown)
                    # curl makes up a boundary.
                    content = re.sub(rb"boundary=-*\w+", b"", shown.body)
                    got[name] = content if len(content) < 300 else hashlib.sha256(content).hexdigest()
                    got[f"time of {name}"] = int(path.stat().st_mtime) if "-R" in lines[0] or "-N" in lines[0] else None
        return got

    return run
