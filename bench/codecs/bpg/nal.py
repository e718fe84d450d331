"""NAL units: byte streams (H.265 annex B), unit headers, emulation prevention."""

START_CODE = b"\x00\x00\x01"

NAL_VPS, NAL_SPS, NAL_PPS = 32, 33, 34
_LAST_VCL = 31
_FIRST_IRAP, _LAST_IRAP = 16, 21


def nal_type(nal: bytes) -> int:
    return (nal[0] >> 1) & 0x3F


def nal_layer(nal: bytes) -> int:
    """nuh_layer_id: 0 the colour planes, 1 the alpha (or W) plane."""
    return (nal[0] & 1) << 5 | nal[1] >> 3


def to_base_layer(nal: bytes) -> bytes:
    """The same unit with nuh_layer_id 0, where every HEVC decoder looks for a picture."""
    return bytes((nal[0] & 0xFE, nal[1] & 7)) + nal[2:]


def to_extra_layer(nal: bytes) -> bytes:
    """The same unit with nuh_layer_id 1, where a .bpg file has its alpha or W plane."""
    return bytes((nal[0] & 0xFE, nal[1] & 7 | 1 << 3)) + nal[2:]


def is_slice(nal: bytes) -> bool:
    return nal_type(nal) <= _LAST_VCL


def is_intra_picture(nal: bytes) -> bool:
    """Whether a slice belongs to a picture that decodes on its own (IDR, BLA, CRA)."""
    return _FIRST_IRAP <= nal_type(nal) <= _LAST_IRAP


def starts_picture(nal: bytes) -> bool:
    """first_slice_segment_in_pic_flag of a slice."""
    return bool(nal[2] >> 7)


def nal_header(kind: int) -> bytes:
    return bytes((kind << 1, 1))  # nuh_layer_id 0, nuh_temporal_id_plus1 1


def split_annexb(data: bytes) -> list[bytes]:
    """A byte stream (H.265 annex B) → its NAL units; what stands before a start code is one too.

    So it also splits the data of a .bpg file, whose first NAL unit has no start code.
    """
    # A NAL unit never ends in a zero byte: zeros before a start code belong to the start code.
    nals = [part.rstrip(b"\x00") for part in data.split(START_CODE)]
    return [nal for nal in nals if nal]


def join_annexb(nals: list[bytes]) -> bytes:
    """NAL units → a byte stream, each behind a start code."""
    return b"".join(START_CODE + nal for nal in nals)


def unescape(payload: bytes) -> bytes:
    """NAL payload → RBSP: without the emulation prevention bytes (H.265 section 7.3.1.1)."""
    first, *rest = payload.split(b"\x00\x00\x03")
    return first + b"".join(b"\x00\x00" + part for part in rest)


def escape(rbsp: bytes) -> bytes:
    """RBSP → NAL payload: 3 put between two zeros and a byte of 0 to 3."""
    out = bytearray()
    zeros = 0
    for byte in rbsp:
        if zeros == 2 and byte <= 3:
            out.append(3)
            zeros = 0
        out.append(byte)
        zeros = zeros + 1 if byte == 0 else 0
    return bytes(out)
