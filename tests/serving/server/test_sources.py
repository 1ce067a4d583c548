"""Where images come from: data URIs, and allowed hosts only. The other host is a real HTTP server of this machine."""

import asyncio
import base64
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from PIL import Image

from grip_vlm.serving.server.refusal import Refusal
from grip_vlm.serving.server.sources import Sources, is_public


def png(size=(8, 8)):
    buffer = BytesIO()
    Image.new("RGB", size, "red").save(buffer, "PNG")
    return buffer.getvalue()


class Pages(BaseHTTPRequestHandler):
    """/image, /large, /page, and /to?ADDRESS, which redirects there."""

    def do_GET(self):
        path, _, address = self.path.partition("?")
        self.server.asked.append(self.path)
        self.send_response(302 if path == "/to" else 404 if path == "/missing" else 200)
        if path == "/to":
            self.send_header("Location", address)
        self.end_headers()
        self.wfile.write({"/image": png(), "/large": b"0" * 200_000, "/page": b"<html>"}.get(path, b""))

    def log_message(self, *_):
        pass


@pytest.fixture
def pages():
    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        server.asked = []
        server.host = f"127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def read(url, hosts="", max_pixels=10_000):
    return asyncio.run(Sources(hosts, 100_000, max_pixels).read(url, "image"))


def refused(url, hosts="", **limits):
    with pytest.raises(Refusal) as refusal:
        read(url, hosts, **limits)
    return refusal.value.status_code, refusal.value.detail


def test_a_data_uri_gives_its_bytes():
    text = base64.b64encode(png()).decode()
    for url in (f"data:image/png;base64,{text}", f"DATA:image/png;name=a;BASE64,{text[:20]}\n{text[20:]}"):
        assert read(url) == png()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("data:image/png;base64,!", "is not base64"),
        ("data:image/png,\ud800", "is not text"),
        ("data:text/html;base64,AAAA", "has the type 'text/html'"),
        ("data:image/png;base64,AAAA", "is not an image"),
        ("data:", "a data URI is"),
        ("", "neither a data URI"),
        ("file:///etc/passwd", "neither a data URI"),
        ("gopher://localhost/", "neither a data URI"),
    ],
)
def test_what_is_no_image_is_refused(url, words):
    status, sentence = refused(url)
    assert status == 400
    assert words in sentence


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded():
    url = "data:image/png;base64," + base64.b64encode(png((101, 100))).decode()
    assert refused(url) == (413, "image has 101 x 100 pixels; 10000 are allowed")


def test_without_a_list_nothing_is_fetched(pages):
    assert "fetches no images" in refused(f"http://{pages.host}/image")[1]
    assert pages.asked == []


def test_a_listed_host_gives_its_image(pages):
    assert read(f"http://{pages.host}/image", f"images.example.org, {pages.host}") == png()


@pytest.mark.parametrize("other", ["127.0.0.1", "localhost:{port}", "127.0.0.1:1", "127.1:{port}"])
def test_a_host_that_is_not_listed_is_never_asked(pages, other):
    host = other.format(port=pages.server_port)
    assert "fetches no images from" in refused(f"http://{host}/image", pages.host)[1]
    assert pages.asked == []


def test_a_user_in_an_address_does_not_hide_its_host(pages):
    assert "without a user" in refused(f"http://images.example.org@{pages.host}/image", "images.example.org")[1]
    assert pages.asked == []


def test_a_listed_name_with_a_private_address_needs_the_address_in_the_list(pages):
    name = f"localhost:{pages.server_port}"
    assert refused(f"http://{name}/image", name)[1].endswith("the host 'localhost' has a private address")
    assert pages.asked == []
    assert read(f"http://{name}/image", f"{name},127.0.0.1,[::1]") == png()


def test_a_redirect_leads_nowhere_else_than_a_first_address(pages):
    assert read(f"http://{pages.host}/to?/image", pages.host) == png()
    for target in (
        "http://127.0.0.1:1/",
        "http://169.254.169.254/latest/meta-data",
        f"http://localhost:{pages.server_port}/",
    ):
        assert "fetches no images from" in refused(f"http://{pages.host}/to?{target}", pages.host)[1]
    assert "http or https" in refused(f"http://{pages.host}/to?file:///etc/passwd", pages.host)[1]


def test_redirects_end(pages):
    loop = f"http://{pages.host}/to?/to?/to?/to?/to?/image"
    assert "more than 3 redirects" in refused(loop, pages.host)[1]
    assert len(pages.asked) == 4


def test_a_large_page_is_not_read_to_its_end(pages):
    assert refused(f"http://{pages.host}/large", pages.host) == (413, "image has more than 100000 bytes")


def test_other_answers_of_a_host_are_refused(pages):
    assert "status 404" in refused(f"http://{pages.host}/missing", pages.host)[1]
    assert "is not an image" in refused(f"http://{pages.host}/page", pages.host)[1]
    assert "cannot be fetched" in refused("http://127.0.0.1:1/image", "127.0.0.1:1")[1]


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700::1111", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("2002:7f00:1::", False),
    ],
)
def test_addresses_of_the_internet_are_told_from_private_ones(address, public):
    assert is_public(address) is public
