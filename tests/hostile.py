"""Support for tests: broken and odd files named by their defect, and mutations of good ones.

``broken_files`` maps a name to bytes; every file is small, whatever its header claims.
Some are images a decoder may rightly accept (16 bits, CMYK, a wrong suffix): what is
promised is a result or a typed failure, never a crash.
"""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from PIL import Image

from pi10_classifier.simulate import encode_tiff

WHEN = datetime(2024, 6, 24, 14, 50, 30, tzinfo=UTC)
WIDTH, HEIGHT = 72, 40
STRIP = 392
SHORT, LONG, RATIONAL = 3, 4, 5


def good_tiff(rng: np.random.Generator, width: int = WIDTH, height: int = HEIGHT) -> bytes:
    """A sound file of the instrument's: light ground, dark disc."""
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 < (height / 3) ** 2
    rgb = rng.integers(225, 256, (height, width, 3))
    rgb[disc] = rng.integers(5, 40, (int(disc.sum()), 3))
    return encode_tiff(rgb.astype(np.uint8), WHEN, 50.25, -6.5)


def mutate(tiff: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, insert, repeat or zero a few bytes, most often in the header."""
    data = bytearray(tiff)
    for _ in range(int(rng.integers(1, 5))):
        if not data:
            break
        limit = min(len(data), STRIP) if rng.random() < 0.7 else len(data)
        at = int(rng.integers(limit))
        span = int(rng.integers(1, 17))
        kind = int(rng.integers(8))
        if kind <= 2:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 3:
            data[at : at + span] = rng.bytes(span)
        elif kind == 4:
            data[at:at] = rng.bytes(span)
        elif kind == 5:
            del data[at : at + span]
        elif kind == 6:
            fill = int(rng.choice((0, 255, 127, 128)))
            data[at : at + span] = bytes([fill]) * span
        else:
            del data[int(rng.integers(len(data))) :]
    return bytes(data)


def tiff(
    tags: Sequence[tuple[int, int, int, int | bytes]],
    strip: bytes = b"",
    *,
    order: str = "<",
    next_ifd: int = 0,
) -> bytes:
    """A TIFF of one directory; bytes as a value are put behind the directory.

    A value of ``STRIP`` in tag 273 is replaced by where the strip begins.
    """
    begin = 8 + 2 + 12 * len(tags) + 4
    extra = b""
    entries = b""
    total = begin + sum(len(value) for *_, value in tags if isinstance(value, bytes))
    for tag, kind, count, value in tags:
        if isinstance(value, bytes):
            entries += struct.pack(order + "HHII", tag, kind, count, begin + len(extra))
            extra += value
        elif tag == 273 and value == STRIP:
            entries += struct.pack(order + "HHII", tag, kind, count, total)
        elif kind == SHORT and count == 1 and 0 <= value < 65536:
            entries += struct.pack(order + "HHIHH", tag, kind, count, value, 0)
        else:
            entries += struct.pack(order + "HHII", tag, kind, count, value)
    mark = b"II*\0" if order == "<" else b"MM\0*"
    head = mark + struct.pack(order + "IH", 8, len(tags)) + entries
    return head + struct.pack(order + "I", next_ifd) + extra + strip


def layout(
    width: int = 16,
    height: int = 8,
    *,
    bits: tuple[int, ...] = (8, 8, 8),
    photometric: int = 2,
    compression: int = 1,
    samples: int | None = None,
    strip: bytes | None = None,
    more: Sequence[tuple[int, int, int, int | bytes]] = (),
    order: str = "<",
) -> bytes:
    """A plain single-strip TIFF of the given pixel type, filled with grey."""
    samples = len(bits) if samples is None else samples
    if strip is None:
        strip = bytes([128]) * ((width * sum(bits) + 7) // 8 * height)
    depth: int | bytes = bits[0]
    if len(bits) > 1:
        depth = struct.pack(f"{order}{len(bits)}H", *bits)
    tags: list[tuple[int, int, int, int | bytes]] = [
        (256, LONG, 1, width),
        (257, LONG, 1, height),
        (258, SHORT, len(bits), depth),
        (259, SHORT, 1, compression),
        (262, SHORT, 1, photometric),
        (273, LONG, 1, STRIP),
        (277, SHORT, 1, samples),
        (278, LONG, 1, height),
        (279, LONG, 1, len(strip)),
    ]
    replaced = {tag for tag, *_ in more}
    tags = sorted([t for t in tags if t[0] not in replaced] + list(more), key=lambda t: t[0])
    return tiff(tags, strip, order=order)


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width: int, height: int, packed: bytes, depth: int = 8, colour: int = 2) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = _png_chunk(b"IHDR", head) + _png_chunk(b"IDAT", packed) + _png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def _saved(rgb: Any, form: str, mode: str = "RGB", **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(out, form, **options)
    return out.getvalue()


def _group4_bomb(side: int) -> bytes:
    """A white group-4 page: one bit a row says "as above"."""
    strip = b"\xff" * (side // 8 + 1) + b"\x00\x10\x01\x00\x10\x01"
    return layout(side, side, bits=(1,), photometric=0, compression=4, strip=strip)


def _type_at(entry: int) -> int:
    """Where the type of the good file's tag number ``entry`` lies."""
    return 10 + 12 * entry + 2


def _count_at(entry: int) -> int:
    return _type_at(entry) + 2


def _value_at(entry: int) -> int:
    return _type_at(entry) + 6


def broken_files(rng: np.random.Generator) -> dict[str, bytes]:
    """Over 60 kinds of broken or odd file, named by their defect, all called ``.tif``.

    Deterministic by ``rng``. The good file they start from is ``good_tiff``.
    """
    good = good_tiff(rng)
    grey = rng.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)

    def with_field(offset: int, form: str, *values: int) -> bytes:
        data = bytearray(good)
        struct.pack_into("<" + form, data, offset, *values)
        return bytes(data)

    packed = zlib.compress(b"".join(b"\0" + row.tobytes() for row in grey))
    sound_png = png(WIDTH, HEIGHT, packed)
    sound_jpeg = _saved(grey, "JPEG")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.writestr(zipfile.ZipInfo("a.tif"), good)
    tarred = io.BytesIO()
    with tarfile.open(fileobj=tarred, mode="w") as tar:
        info = tarfile.TarInfo("a.tif")
        info.size = len(good)
        tar.addfile(info, io.BytesIO(good))
    pages = io.BytesIO()
    frames = [Image.fromarray(grey) for _ in range(3)]
    frames[0].save(pages, "TIFF", save_all=True, append_images=frames[1:])
    half = STRIP + WIDTH * HEIGHT * 3 // 2

    files = {
        # cut
        "empty": b"",
        "one byte": b"I",
        "byte order only": b"II",
        "magic only": good[:4],
        "cut in header": good[:7],
        "cut in directory": good[:100],
        "cut before strip": good[:391],
        "only the header": good[:STRIP],
        "cut after one pixel": good[: STRIP + 3],
        "cut at half strip": good[:half],
        "cut one byte before strip end": good[: STRIP + WIDTH * HEIGHT * 3 - 1],
        "first half missing": good[half:],
        "zeros instead of strip end": good[:half] + bytes(len(good) - half),
        # size fields
        "zero width": with_field(_value_at(0), "I", 0),
        "zero height": with_field(_value_at(1), "I", 0),
        "width of 4 billion": with_field(_value_at(0), "I", 0xFFFFFFFF),
        "height of 4 billion": with_field(_value_at(1), "I", 0xFFFFFFFF),
        "product overflows 32 bits": with_field(_value_at(0), "I", 65536 * 8)[: _value_at(1)]
        + struct.pack("<I", 65536 * 8)
        + good[_value_at(1) + 4 :],
        "20,000 x 20,000 px": layout(20_000, 20_000, strip=b""),
        "width one too large": with_field(_value_at(0), "I", WIDTH + 1),
        "strip past the end": with_field(_value_at(8), "I", len(good) + 1000),
        "strip at zero": with_field(_value_at(8), "I", 0),
        "strip offset 4 billion": with_field(_value_at(8), "I", 0xFFFFFFFF),
        "strip length zero": with_field(_value_at(11), "I", 0),
        "strip length 4 billion": with_field(_value_at(11), "I", 0xFFFFFFFF),
        "rows per strip zero": with_field(_value_at(10), "I", 0),
        # directory
        "bad byte order": b"IM" + good[2:],
        "wrong magic": good[:2] + b"\x2b\x01" + good[4:],
        "big-endian mark, little-endian body": b"MM" + good[2:],
        "directory at zero": with_field(4, "I", 0),
        "directory beyond end": with_field(4, "I", len(good) * 2),
        "directory at last byte": with_field(4, "I", len(good) - 1),
        "directory loops to itself": with_field(214, "I", 8),
        "next directory beyond end": with_field(214, "I", 0xFFFFFFF0),
        "no tags": with_field(8, "H", 0),
        "65,535 tags": with_field(8, "H", 65535),
        "tag count 65,535": with_field(_count_at(2), "I", 65535),
        "tag count 4 billion": with_field(_count_at(15), "I", 0xFFFFFFFF),
        "width as ascii": with_field(_type_at(0), "H", 2),
        "width as double": with_field(_type_at(0), "H", 12),
        "type code 99": with_field(_type_at(1), "H", 99),
        "type code 0": with_field(_type_at(15), "H", 0),
        "tags in wrong order": good[:10] + good[22:34] + good[10:22] + good[34:],
        "width twice": good[:22] + good[10:22] + good[34:],
        "gps directory loops to main": with_field(_value_at(16), "I", 8),
        "gps directory beyond end": with_field(_value_at(16), "I", 0x7FFFFFFF),
        "gps loops to itself": with_field(298, "I", 236),
        "gps minutes over zero": with_field(350, "I", 0),
        "gps latitude of 4 billion degrees": with_field(338, "I", 0xFFFFFFFF),
        "gps reference is no letter": with_field(258, "H", 0xFFFF),
        "resolution over zero": with_field(306, "I", 0),
        "resolution a negative rational": with_field(_type_at(12), "H", 10)[:302]
        + struct.pack("<ii", -1000, 1)
        + good[310:],
        "date nonsense": good[:318] + b"9999:99:99 99:99:99\0" + good[338:],
        "date of control bytes": good[:318] + bytes(range(20)) + good[338:],
        "date beyond end": with_field(_value_at(15), "I", 0x7FFFFFFF),
        "sub-directory loop": layout(more=[(330, LONG, 1, 8)]),
        "thousand sub-directories": layout(more=[(330, LONG, 1000, struct.pack("<I", 8) * 1000)]),
        "exif directory loop": layout(more=[(34665, LONG, 1, 8)]),
        "strip offsets overlap": layout(
            more=[
                (273, LONG, 8, struct.pack("<8I", *([200] * 8))),
                (278, LONG, 1, 1),
                (279, LONG, 8, struct.pack("<8I", *([48] * 8))),
            ]
        ),
        "million strips": layout(more=[(273, LONG, 1_000_000, 8), (279, LONG, 1_000_000, 8)]),
        "tiles without sizes": layout(more=[(322, LONG, 1, 0), (323, LONG, 1, 0)]),
        "tiles of 2 billion px": layout(
            more=[(322, LONG, 1, 2**31), (323, LONG, 1, 16), (324, LONG, 1, 8), (325, LONG, 1, 9)]
        ),
        "three pages": pages.getvalue(),
        "big-endian": layout(order=">"),
        # pixel types
        "bits 16 rgb": layout(bits=(16, 16, 16)),
        "bits 16 grey": layout(bits=(16,), photometric=1),
        "bits 12 grey": layout(bits=(12,), photometric=1),
        "bits 32 float": layout(bits=(32,), photometric=1, more=[(339, SHORT, 1, 3)]),
        "bits 64 float": layout(bits=(64,), photometric=1, more=[(339, SHORT, 1, 3)]),
        "bits 32 integer": layout(bits=(32,), photometric=1),
        "bits 8 signed": layout(bits=(8,), photometric=1, more=[(339, SHORT, 1, 2)]),
        "bits 8 complex": layout(bits=(64,), photometric=1, more=[(339, SHORT, 1, 6)]),
        "bits 1": layout(bits=(1,), photometric=1),
        "bits 0": layout(bits=(0, 0, 0), strip=b"\x80" * 384),
        "bits differ by channel": layout(bits=(8, 16, 4)),
        "bits 8 8 only": layout(bits=(8, 8), samples=3, strip=bytes(384)),
        "samples 0": layout(samples=0),
        "samples 65,535": layout(samples=65535),
        "cmyk": layout(bits=(8, 8, 8, 8), photometric=5),
        "alpha": layout(bits=(8, 8, 8, 8), more=[(338, SHORT, 1, 2)]),
        "grey with alpha": layout(bits=(8, 8), photometric=1, more=[(338, SHORT, 1, 2)]),
        "palette": layout(bits=(8,), photometric=3, more=[(320, SHORT, 768, bytes(1536))]),
        "palette without table": layout(bits=(8,), photometric=3),
        "palette of three": layout(bits=(8,), photometric=3, more=[(320, SHORT, 3, bytes(6))]),
        "lab": layout(photometric=8),
        "ycbcr": layout(photometric=6),
        "photometric 60,000": layout(photometric=60_000),
        "planar": layout(more=[(284, SHORT, 1, 2)]),
        # compression
        "compression unknown": layout(compression=47_000),
        "old jpeg": layout(compression=6),
        "jpeg without tables": layout(compression=7),
        "lzw of noise": layout(compression=5, strip=rng.bytes(200)),
        "deflate of noise": layout(compression=8, strip=rng.bytes(200)),
        "deflate too short": layout(compression=8, strip=zlib.compress(bytes(10))),
        "deflate bomb": layout(3000, 3000, compression=8, strip=zlib.compress(bytes(27_000_000))),
        "packbits of noise": layout(compression=32773, strip=rng.bytes(50)),
        "zstd of noise": layout(compression=50000, strip=rng.bytes(50)),
        "group 4 of noise": layout(bits=(1,), photometric=0, compression=4, strip=rng.bytes(99)),
        "group 4 bomb of 108 megapixels": _group4_bomb(10_400),
        # BigTIFF
        "bigtiff header only": b"II+\0" + struct.pack("<HHQ", 8, 0, 16),
        "bigtiff of 4 GB": b"II+\0"
        + struct.pack("<HHQ", 8, 0, 16)
        + struct.pack("<Q", 3)
        + struct.pack("<HHQQ", 256, 4, 1, 40_000)
        + struct.pack("<HHQQ", 257, 4, 1, 36_000)
        + struct.pack("<HHQQ", 273, 16, 1, 2**32 + 16)
        + struct.pack("<Q", 0),
        "bigtiff of 2^60 tags": b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2**60) + bytes(64),
        # PNG
        "png bad crc": sound_png[:29] + b"\0\0\0\0" + sound_png[33:],
        "png cut in idat": sound_png[: len(sound_png) // 2],
        "png signature only": sound_png[:8],
        "png zip bomb": png(16_000, 2_000, zlib.compress(bytes(96_002_000), 9)),
        "png of 4 gigapixels": png(65_535, 65_535, packed),
        "png zero width": png(0, HEIGHT, packed),
        "png idat is noise": png(WIDTH, HEIGHT, rng.bytes(300)),
        "png depth 16": png(4, 4, zlib.compress((b"\0" + bytes(24)) * 4), depth=16),
        "png depth 3": png(WIDTH, HEIGHT, packed, depth=3),
        "png text bomb": sound_png[:33]
        + _png_chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(20_000_000), 9))
        + sound_png[33:],
        # JPEG
        "jpeg cut": sound_jpeg[: len(sound_jpeg) // 2],
        "jpeg markers only": b"\xff\xd8\xff\xd9",
        "jpeg 65,500 px header": sound_jpeg.replace(
            struct.pack(">HH", HEIGHT, WIDTH), b"\xff\xdc\xff\xdc", 1
        ),
        "jpeg cmyk": _saved(grey, "JPEG", "CMYK"),
        "jpeg of noise": sound_jpeg[:200] + rng.bytes(400),
        # other formats
        "text": b"This is not an image.\r\n" * 20,
        "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "xml of storage error": b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>",
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99 99\n(x) run showpage\n%%EOF\n",
        "pdf": b"%PDF-1.7\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n",
        "svg": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "gif": _saved(grey, "GIF", "P"),
        "bmp": _saved(grey, "BMP"),
        "webp": _saved(grey, "WEBP"),
        "ppm": _saved(grey, "PPM"),
        "ico": _saved(grey[:16, :16], "ICO"),
        "gzip": gzip.compress(good, mtime=0),
        "zip": archive.getvalue(),
        "tar": tarred.getvalue(),
        "elf": b"\x7fELF\x02\x01\x01" + bytes(200),
        "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94.",
        "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\nsize 26000\n",
        "utf-16 garbage": "kein Bild, keine Kopepode".encode("utf-16"),
        "nuls": bytes(5_000),
        "0xff": b"\xff" * 5_000,
        "noise": rng.bytes(5_000),
        "noise behind the magic": good[:8] + rng.bytes(5_000),
        "space before the file": b" " + good,
        "file twice": good + good,
        "line ends translated": good.replace(b"\n", b"\r\n"),
        "read as text": good.decode("utf-8", "replace").encode("utf-8"),
    }
    return files
