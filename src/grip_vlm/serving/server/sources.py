"""Images of requests: data URIs, and addresses on allowed hosts, guarded against server-side request forgery."""

import asyncio
import ipaddress
import re
import socket
from io import BytesIO

import httpx
from PIL import Image

from grip_vlm.serving.data_uri import decoded, is_data_uri
from grip_vlm.serving.server.refusal import Refusal

REDIRECTS = 3
SECONDS = 10.0  # for one image from another host, redirects included
NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Sources:
    """Where images may come from."""

    def __init__(self, hosts: str, max_bytes: int, max_pixels: int) -> None:
        """
        Args:
            hosts: comma-separated `host` or `host:port`; a host without a port has the scheme's own.
            max_bytes: of one fetched image.
            max_pixels: of one image.

        Raises:
            ValueError: a host is none.
        """
        self.hosts = {host.strip().lower() for host in hosts.split(",") if host.strip()}
        for host in self.hosts:
            if not re.fullmatch(r"[a-z0-9._-]+(:\d{1,5})?|\[[0-9a-f:]+\](:\d{1,5})?", host):
                raise ValueError(f"{host!r} is not a host: give images.example.org, 10.0.0.5:8080 or [::1]")
        self.max_bytes, self.max_pixels = max_bytes, max_pixels

    async def read(self, url: str, where: str) -> bytes:
        """The bytes of an image file, whose header is read and whose size is allowed.

        Args:
            where: what messages call the image.

        Raises:
            Refusal: 400 or 413.
        """
        if is_data_uri(url):
            try:
                content = decoded(url)
            except ValueError as error:
                raise Refusal(400, f"{where}: {error}", where) from error
        elif url[:7].lower() == "http://" or url[:8].lower() == "https://":
            content = await self.fetched(url, where)
        else:
            raise Refusal(400, f"{where} is neither a data URI (data:image/png;base64,...) nor an http address", where)
        await asyncio.to_thread(check_image, content, where, self.max_pixels)
        return content

    async def fetched(self, url: str, where: str) -> bytes:
        """The content of an address on an allowed host."""
        if not self.hosts:
            raise Refusal(400, f"{where}: this server fetches no images; send a data URI", where)
        try:
            async with asyncio.timeout(SECONDS):
                async with httpx.AsyncClient(trust_env=False, follow_redirects=False) as client:
                    for _ in range(REDIRECTS + 1):
                        content, url = await self.hop(client, url, where)
                        if not url:
                            return content
        except TimeoutError as error:
            raise Refusal(400, f"{where}: its host gave no image within {SECONDS:.0f} seconds", where) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Refusal(400, f"{where} cannot be fetched: {error or type(error).__name__}", where) from error
        raise Refusal(400, f"{where}: more than {REDIRECTS} redirects", where)

    async def hop(self, client: httpx.AsyncClient, address: str, where: str) -> tuple[bytes, str]:
        """(content, "") of an address, or (b"", the address it redirects to)."""
        url = httpx.URL(address)
        ip = await self.checked(url, where)
        # The connection goes to the address that was checked: a name might resolve differently a second time.
        request = client.build_request(
            "GET",
            url.copy_with(host=ip),
            headers={"Host": url.netloc.decode(), "Accept": "image/*", "Accept-Encoding": "identity"},
            extensions={"sni_hostname": url.host},
        )
        response = await client.send(request, stream=True)
        try:
            if response.is_redirect:
                return b"", str(url.join(response.headers["location"]))
            if response.status_code != 200:
                raise Refusal(400, f"{where}: its host answers with status {response.status_code}", where)
            content = bytearray()
            async for piece in response.aiter_raw():
                content += piece
                if len(content) > self.max_bytes:
                    raise Refusal(413, f"{where} has more than {self.max_bytes} bytes", where)
            return bytes(content), ""
        finally:
            await response.aclose()

    async def checked(self, url: httpx.URL, where: str) -> str:
        """The IP address to connect to.

        Raises:
            Refusal: the host is not in the list, or has an address that is not public and not in the list.
        """
        if url.scheme not in ("http", "https") or url.userinfo:
            raise Refusal(400, f"{where}: an address is http or https, without a user", where)
        host = f"[{url.host}]" if ":" in url.host else url.host.lower()
        if (f"{host}:{url.port}" if url.port else host) not in self.hosts:
            raise Refusal(400, f"{where}: this server fetches no images from {url.netloc.decode()!r}", where)
        port = url.port or (443 if url.scheme == "https" else 80)
        try:
            found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise Refusal(400, f"{where}: the host {url.host!r} has no address", where) from error
        listed = {entry.rsplit(":", 1)[0] if re.search(r"[\]\w]:\d+$", entry) else entry for entry in self.hosts}
        for *_, (ip, *_rest) in found:
            if not is_public(str(ip)) and (f"[{ip}]" if ":" in str(ip) else ip) not in listed:
                raise Refusal(400, f"{where}: the host {url.host!r} has a private address", where)
        return str(found[0][4][0])


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet's, also inside addresses that carry another."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return is_public(str(ip.ipv4_mapped))
        if ip.sixtofour is not None or ip.teredo is not None or ip in NAT64:
            return False
    return ip.is_global and not ip.is_multicast


def check_image(content: bytes, where: str, max_pixels: int) -> None:
    """Refuse what has no image's header, and images of too many pixels. The pixels are not decoded yet."""
    try:
        with Image.open(BytesIO(content)) as image:
            width, height = image.size
    except Image.DecompressionBombError as error:
        raise Refusal(413, f"{where} has more than {max_pixels} pixels", where) from error
    except Exception as error:  # Pillow's plug-ins raise many kinds
        raise Refusal(400, f"{where} is not an image that can be read", where) from error
    if width * height > max_pixels:
        raise Refusal(413, f"{where} has {width} x {height} pixels; {max_pixels} are allowed", where)
