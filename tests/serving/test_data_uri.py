"""What data URIs hold, and which are refused."""

import base64

import pytest

from grip_vlm.serving.data_uri import decoded, is_data_uri

TEXT = base64.b64encode(b"an image's bytes").decode()


@pytest.mark.parametrize(
    "uri",
    [
        f"data:image/png;base64,{TEXT}",
        f"data:;base64,{TEXT}",
        f"data:application/octet-stream;base64,{TEXT}",
        f"DATA:image/png;name=a;BASE64,{TEXT[:8]}\n {TEXT[8:]}",
        "data:image/png,an%20image's bytes",
        "data:image/png;name=base64;a=;base64s,an image's bytes",
    ],
)
def test_a_data_uri_gives_its_bytes(uri):
    assert is_data_uri(uri)
    assert decoded(uri) == b"an image's bytes"


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("data:", "a data URI is data:image/png;base64,..."),
        ("data:image/png;base64", "a data URI is data:image/png;base64,..."),
        (f"data:{'a' * 2000},", "a data URI is data:image/png;base64,..."),
        ("data:text/html;base64,AAAA", "has the type 'text/html', not image/..."),
        ("data:image/png;base64,!", "is not base64"),
        ("data:image/png;base64,AAA", "is not base64"),
        ("data:image/png;base64,ä", "is not base64"),
        ("data:image/png,\ud800", "is not text"),
    ],
)
def test_what_cannot_be_decoded_is_refused(uri, words):
    with pytest.raises(ValueError, match=words):
        decoded(uri)


@pytest.mark.parametrize("text", ["", "cat.png", "https://example.org/cat.png", "my data:image/png;base64,AAAA"])
def test_other_texts_are_not_meant_as_data_uris(text):
    assert not is_data_uri(text)
