"""Decodes the bytes of one image to RGB, or fails with a code; all images pass through here.

Conversions to 8-bit RGB, for files that do not have the instrument's own layout:

- grey, 1 and 8 bit: repeated over the channels; 1 bit becomes 0 and 255;
- palette: through its table; CMYK: Pillow's naive conversion;
- alpha (RGBA, LA, transparent palette): composited over white, like a light flow cell;
- 16 bit, grey or colour: value x 255 / full scale, rounded. Full scale is 4095 (the camera gives
  12 bits) where no sample exceeds it, or where so few do that they are defects of a 12-bit image:
  up to one in a thousand or, where the TIFF's MaxSampleValue (281) is 4095, up to one in a
  hundred, or any number up to 8190. Such samples are clipped and flagged
  ``over_range=<samples>``. Otherwise full scale is 65535;
- several pages: the first, flagged ``multi_page=<pages>`` (counted up to 1000);
- EXIF orientation: applied;
- float, 32-bit integer, YCbCr outside JPEG, Lab, complex, 16-bit CMYK, 16-bit or
  grey-alpha in planes: ``unsupported_mode``.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pi10_classifier.errors import Code, InputError
from pi10_classifier.imaging.libtiff import silence_libtiff
from pi10_classifier.instrument.formats import NAMES, format_of
from pi10_classifier.instrument.tiff import (
    NO_TAGS,
    PIXEL_OFFSET,
    Ifd,
    Tags,
    particle_header,
    read_tags,
)

U8 = NDArray[np.uint8]

MULTI_PAGE = "multi_page"
OVER_RANGE = "over_range"
_TWELVE_BIT = 4095
_PNG_END = b"IEND\xaeB`\x82"
_MAX_PAGES_COUNTED = 1000
_EIGHT_BIT = {"1", "L", "P", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}
_SIXTEEN_BIT = {"I;16", "I;16L", "I;16B", "I;16N"}


@dataclass(frozen=True, slots=True)
class Caps:
    """Size limits, checked from the header before any pixel is decoded.

    bytes: file size. pixels: width x height. side: width or height, px. ratio: decoded bytes
    per byte of the file; checked above one decoded megabyte.
    """

    bytes: int = 128 * 2**20
    pixels: int = 36_000_000
    side: int = 16_384
    ratio: int = 400


CAPS = Caps()


class Image(NamedTuple):
    """A decoded particle: RGB (height, width, 3) uint8, its tags and flags."""

    rgb: U8
    tags: Tags
    flags: tuple[str, ...] = ()


def decode(data: bytes | memoryview, caps: Caps = CAPS) -> Image:
    """Decode one image. Raises InputError, and nothing else, for any other bytes."""
    size = len(data)
    if size == 0:
        raise InputError(Code.EMPTY_OBJECT, "0 bytes; fetch the file again from its origin")
    if size > caps.bytes:
        raise too_many_bytes(size, caps)
    header = particle_header(data)
    if header is not None:
        count = header.width * header.height * 3
        _check_size(header.width, header.height, size, caps)
        if size < PIXEL_OFFSET + count:
            raise InputError(
                Code.CORRUPT_IMAGE,
                f"{size} bytes, but {header.width} x {header.height} px need "
                f"{PIXEL_OFFSET + count}; the file is truncated, fetch it again",
            )
        pixels = np.frombuffer(data, np.uint8, count, PIXEL_OFFSET)
        return Image(pixels.reshape(header.height, header.width, 3), header.tags)
    return _decode_any(bytes(data), caps)


def looks_like_image(head: bytes | memoryview) -> bool:
    """True where the first bytes are those of a TIFF, PNG or JPEG."""
    return format_of(bytes(head[:8])) is not None


def too_many_bytes(size: int, caps: Caps) -> InputError:
    """The failure of a file with more bytes than the cap allows."""
    return InputError(
        Code.TOO_LARGE,
        f"{size:,} bytes; the cap is {caps.bytes:,}; raise it if the file is genuine",
    )


def _check_size(width: int, height: int, size: int, caps: Caps) -> None:
    pixels = width * height
    if width > caps.side or height > caps.side or pixels > caps.pixels:
        code = Code.TOO_LARGE
        # a photograph has fewer pixels than its file has bits; a bomb has more
        if pixels > 8 * size * 8:
            code = Code.DECOMPRESSION_BOMB
        raise InputError(
            code,
            f"{width} x {height} px; the cap is {caps.pixels:,} px and {caps.side} px a side; "
            "raise it if the image is genuine",
        )
    if pixels * 3 > 2**20 and pixels * 3 > size * caps.ratio:
        raise InputError(
            Code.DECOMPRESSION_BOMB,
            f"{width} x {height} px from {size} bytes: more than {caps.ratio} to 1; not decoded",
        )


def _decode_any(data: bytes, caps: Caps) -> Image:
    kind = format_of(data[:8])
    if kind is None:
        raise InputError(
            Code.UNSUPPORTED_FORMAT,
            f"content begins with {data[:8]!r}, which is not {NAMES}; convert the file",
        )
    if kind == "PNG" and _PNG_END not in data:  # decoders do not require it
        raise InputError(
            Code.CORRUPT_IMAGE, "the PNG has no end; the file is truncated, fetch it again"
        )
    # imported on first need: the instrument's own files do not take this path
    import logging
    import warnings

    from PIL import Image as Pillow
    from PIL import ImageOps, UnidentifiedImageError

    Pillow.MAX_IMAGE_PIXELS = None  # up to twice its value it only warns; Caps are checked instead
    warnings.filterwarnings("ignore", module=r"PIL\.")
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    silence_libtiff()
    try:
        with Pillow.open(io.BytesIO(data), formats=[kind]) as image:
            _check_size(image.width, image.height, len(data), caps)
            deep = _bits(image, kind, data) == 16
            if kind == "TIFF":
                _check_layout(image, deep, len(data), caps)
            pages = _count_pages(image, kind)
            if image.mode not in _EIGHT_BIT | _SIXTEEN_BIT or (
                image.mode == "YCbCr" and kind != "JPEG"
            ):
                raise InputError(
                    Code.UNSUPPORTED_MODE,
                    f"pixel type {image.mode!r} of this {kind} has no documented conversion "
                    "to 8-bit RGB; convert the file",
                )
            image.load()
            over = 0
            if deep:
                rgb, over = _sixteen_bit(image, data, kind)
                if "exif" in image.info and kind == "PNG":  # for TIFF, both readers apply it
                    upright = Pillow.fromarray(rgb)
                    upright.info["exif"] = image.info["exif"]
                    rgb = np.asarray(ImageOps.exif_transpose(upright), np.uint8)
            else:
                rgb = _eight_bit(ImageOps.exif_transpose(image))
    except InputError:
        raise
    except UnidentifiedImageError as error:  # its message holds a memory address
        raise _unidentified(data, kind) from error
    except MemoryError as error:
        raise InputError(Code.TOO_LARGE, f"not enough memory to decode: {error}") from error
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise InputError(
            Code.CORRUPT_IMAGE,
            f"{kind} cannot be decoded: {str(error)[:160] or type(error).__name__}; "
            "fetch the file again",
        ) from error
    counts = ((MULTI_PAGE, pages if pages > 1 else 0), (OVER_RANGE, over))
    return Image(rgb, _tags(data, kind), tuple(f"{flag}={n}" for flag, n in counts if n))


def _unidentified(data: bytes, kind: str) -> InputError:
    try:
        ifd = Ifd(data)
        has_sizes = ifd.integer(256) > 0 and ifd.integer(257) > 0 and ifd.raw(258) != b""
    except ValueError:
        has_sizes = False
    if has_sizes:
        return InputError(
            Code.UNSUPPORTED_MODE,
            f"the pixel type of this {kind} has no documented conversion to 8-bit RGB; convert it",
        )
    return InputError(Code.CORRUPT_IMAGE, f"the {kind}'s header is damaged; fetch the file again")


def _check_layout(image: Any, deep: bool, size: int, caps: Caps) -> None:
    """Refuse tiles beyond the caps, and planar layouts that would be read wrongly."""
    tags = image.tag_v2
    wide, high = tags.get(322, 0), tags.get(323, 0)
    if wide or high:
        _check_size(max(image.width, wide), max(image.height, high), size, caps)
    planar = tags.get(284, 1) == 2
    if deep:
        refused = image.mode == "CMYK" or (planar and image.mode not in _SIXTEEN_BIT)
    else:
        refused = planar and image.mode == "LA"
    if refused:
        raise InputError(
            Code.UNSUPPORTED_MODE,
            f"{image.mode} of {16 if deep else 8} bits in this layout has no documented "
            "conversion; convert the file",
        )


def _tags(data: bytes, kind: str) -> Tags:
    if kind != "TIFF":
        return NO_TAGS
    try:
        return read_tags(Ifd(data))
    except ValueError:
        return NO_TAGS


def _bits(image: Any, kind: str, data: bytes) -> int:
    """Bits per sample; refuses formats that Pillow would silently reinterpret."""
    if kind == "PNG":
        return data[24] if len(data) > 24 else 0
    if kind == "JPEG":
        return 8
    bits = image.tag_v2.get(258, (1,))
    bits = bits if isinstance(bits, tuple) else (bits,)
    formats = image.tag_v2.get(339, (1,))
    formats = formats if isinstance(formats, tuple) else (formats,)
    if len(set(bits)) != 1 or set(formats) - {1} or bits[0] not in (1, 2, 4, 8, 16):
        raise InputError(
            Code.UNSUPPORTED_MODE,
            f"samples of {bits} bits, format {formats}, have no documented conversion; "
            "convert the file",
        )
    return int(bits[0])


def _count_pages(image: Any, kind: str) -> int:
    if kind != "TIFF":
        return 1
    pages = 1
    try:
        while pages < _MAX_PAGES_COUNTED:
            image.seek(pages)
            pages += 1
    except Exception:  # noqa: S110  a damaged later page does not spoil the first  # nosec B110
        pass
    image.seek(0)
    return pages


def _eight_bit(image: Any) -> U8:
    if image.mode == "YCbCr" or image.mode == "CMYK" or image.mode in ("1", "L", "RGBX"):
        image = image.convert("RGB")
    if image.mode != "RGB":
        from PIL import Image as Pillow

        over = image.convert("RGBA")
        ground = Pillow.new("RGBA", image.size, (255, 255, 255, 255))
        image = Pillow.alpha_composite(ground, over).convert("RGB")
    return np.asarray(image, np.uint8)


def _sixteen_bit(image: Any, data: bytes, kind: str) -> tuple[U8, int]:
    """8-bit RGB, and how many samples exceed full scale.

    Pillow keeps 16 bits only for grey; colour is read again by OpenCV, after Pillow's checks.
    """
    if image.mode in _SIXTEEN_BIT:
        deep = np.asarray(image).astype(np.uint16)[:, :, None]
    else:
        cv2.utils.logging.setLogLevel(0)  # else OpenCV prints its warnings
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
        if read is None or read.dtype != np.uint16 or read.shape[:2] != image.size[::-1]:
            raise InputError(
                Code.UNSUPPORTED_MODE,
                f"16-bit {image.mode} {kind} of this layout cannot be read; convert it to 8 bits",
            )
        deep = np.asarray(read, np.uint16).reshape(*read.shape[:2], -1)
        if deep.shape[2] in (3, 4):
            deep = deep[:, :, [2, 1, 0, 3][: deep.shape[2]]]
    alpha = deep[:, :, -1:] if deep.shape[2] in (2, 4) else None
    colour = deep[:, :, : 3 if deep.shape[2] >= 3 else 1]
    full, over = _full_scale(colour, data, kind)
    scaled = np.minimum(colour, full).astype(np.float32) * (255.0 / full)
    if kind == "TIFF" and image.tag_v2.get(262) == 0:  # white is zero
        scaled = 255.0 - scaled
    if alpha is not None:
        weight = alpha.astype(np.float32) / 65535.0
        scaled = scaled * weight + 255.0 * (1.0 - weight)
    rgb = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return (np.repeat(rgb, 3, axis=2) if rgb.shape[2] == 1 else rgb), over


def _full_scale(samples: NDArray[np.uint16], data: bytes, kind: str) -> tuple[int, int]:
    """The value that becomes 255, and how many samples exceed it."""
    declared = _max_sample_value(data) if kind == "TIFF" else 0
    if declared == 65535:
        return 65535, 0
    over = int(np.count_nonzero(samples > _TWELVE_BIT))
    if not over:
        return _TWELVE_BIT, 0
    if declared == _TWELVE_BIT:
        trusted = over <= -(-samples.size // 100) or samples.max() <= 2 * _TWELVE_BIT
    else:
        # a dark 16-bit image also has few values above 4095, but then its other values are
        # mostly below a quarter of that
        few = over <= -(-samples.size // 1000)
        rest = samples[samples <= _TWELVE_BIT]
        trusted = few and rest.size > 0 and float(np.percentile(rest, 99)) >= 1024
    if trusted:
        return _TWELVE_BIT, over
    return 65535, over if declared == _TWELVE_BIT else 0


def _max_sample_value(data: bytes) -> int:
    """MaxSampleValue of a TIFF; 0 where it is absent or unreadable."""
    try:
        ifd = Ifd(data)
    except ValueError:
        return 0
    entry, raw = ifd.entries.get(281), ifd.raw(281)
    if not entry or entry[0] != 3 or len(raw) < 2:
        return 0
    value: int = struct.unpack(ifd.order + "H", raw[:2])[0]
    return value
