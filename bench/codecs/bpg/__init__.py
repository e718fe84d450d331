"""BPG: HEVC intra pictures in the .bpg container, in process and in memory.

encode   RGB ─ colour.to_planes ─▶ planes ─ x265.encode ─▶ SPS, NAL units ─ BpgFile.write ─▶ bytes
decode   bytes ─ BpgFile.parse ─▶ SPS, NAL units ─ x265.decode ─▶ planes ─ colour.to_rgb ─▶ RGB
"""

from dataclasses import asdict

import av
import numpy as np
from numpy.typing import NDArray

from bench.codecs.base import CODECS
from bench.codecs.bpg import colour, x265
from bench.codecs.bpg.container import BpgError, BpgFile, Header, nal_layer, nal_type


@CODECS.register("bpg")
class BpgCodec:
    """What `bpgenc -q QP` makes with x265: 8 bits, 4:2:0 centred, full-range BT.601.

    The QP is x265's constant QP; an intra picture is coded 3 below it (never below 0), so QP 0 to
    3 give the same file. Any number of threads may share an object: it has no state.
    """

    name = "bpg"
    qps = range(0, 52)

    def encode(self, rgb: NDArray[np.uint8], qp: int) -> bytes:
        """(H, W, 3) sRGB from 1×1 up, QP 0…51 → a whole .bpg file. Raises CodecError."""
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8:
            raise BpgError(f"bpg codes (H, W, 3) uint8 pixels, not {rgb.shape} {rgb.dtype}")
        if qp not in self.qps:
            raise BpgError(f"bpg has QP {self.qps[0]} to {self.qps[-1]}, not {qp}")
        header = Header(width=rgb.shape[1], height=rgb.shape[0])
        planes = colour.to_planes(rgb, header)
        sps, nals = x265.encode(planes, qp, chroma_format_idc=header.pixel_format.chroma_format_idc)
        return BpgFile(header, sps, nals).write()

    def decode(self, data: bytes) -> NDArray[np.uint8]:
        """A whole .bpg file → (H, W, 3) sRGB; of an animation the first frame.

        Raises CodecError for damaged files, and for those with an alpha or W plane, which RGB
        has no place for. A .bpg file has no checksum: damage that leaves the syntax whole shows
        in the pixels only.
        """
        file = BpgFile.parse(data)
        header = file.header
        if header.has_alpha_plane:
            raise BpgError("pictures with an alpha or W plane are not decoded to RGB")
        to_end_of_file = header.picture_data_length == 0
        planes = x265.decode(file.still(), file.sps, check_end=to_end_of_file)
        return colour.to_rgb(planes, header)

    def fingerprint(self) -> dict[str, str]:
        return {
            "codec": self.name,
            "x265": x265.version(),
            "libavcodec": ".".join(map(str, av.library_versions["libavcodec"])),
            "pyav": av.__version__,
            "settings": f"preset={x265.PRESET}:tune={x265.TUNE}:{x265.PARAMS}:{x265.BLOCKS}",
            "format": "8-bit 4:2:0 centred, full-range BT.601",
            "colour": colour.VERSION,
        }


def info(data: bytes) -> dict[str, object]:
    """What a .bpg file says of itself, without decoding it. Raises CodecError.

    Keys: bytes and bpp of the file; header and sps by the names of their fields (sps: also what
    the file implies); extensions as (tag, bytes); nal_units as (type, layer, bytes) in file order.
    """
    file = BpgFile.parse(data)
    header = asdict(file.header)
    header["pixel_format"] = file.header.pixel_format.name
    header["color_space"] = file.header.color_space.name
    del header["extensions"]
    return {
        "bytes": len(data),
        "bpp": 8 * len(data) / (file.header.width * file.header.height),
        "header": header,
        "sps": asdict(file.sps),
        "alpha_sps": asdict(file.alpha_sps) if file.alpha_sps else None,
        "extensions": [(e.tag, len(e.data)) for e in file.header.extensions],
        "nal_units": [(nal_type(nal), nal_layer(nal), len(nal)) for nal in file.nals],
    }
