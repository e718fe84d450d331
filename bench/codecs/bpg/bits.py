"""Numbers in a .bpg file: u(n) and ue(v) of H.265 (section 9.2), BPG's own ue7(32)."""

from bench.errors import CodecError


class BpgError(CodecError):
    """Bytes that are no .bpg file, or a picture that a .bpg file cannot hold."""


class BitReader:
    """Reads u(n), ue(v) and se(v) (H.265, section 9.2) from bytes, the highest bit first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "big")
        self._length = 8 * len(data)
        self.position = 0

    @property
    def left(self) -> int:
        return self._length - self.position

    def u(self, n: int) -> int:
        if n > self.left:
            raise BpgError("the data ends inside a syntax element")
        self.position += n
        return (self._value >> (self._length - self.position)) & ((1 << n) - 1)

    def flag(self) -> bool:
        return self.u(1) == 1

    def ue(self) -> int:
        zeros = 0
        while self.u(1) == 0:
            zeros += 1
            if zeros > 32:
                raise BpgError("an Exp-Golomb code is longer than 32 bits")
        return (1 << zeros) - 1 + self.u(zeros)


class BitWriter:
    """Writes u(n) and ue(v); the counterpart of BitReader."""

    def __init__(self) -> None:
        self._value = 0
        self._length = 0

    def u(self, n: int, value: int) -> None:
        if not 0 <= value < 1 << n:
            raise BpgError(f"{value} does not fit in {n} bits")
        self._value = (self._value << n) | value
        self._length += n

    def flag(self, value: bool) -> None:
        self.u(1, int(value))

    def ue(self, value: int) -> None:
        length = (value + 1).bit_length()
        self.u(2 * length - 1, value + 1)

    def aligned(self) -> bytes:
        """What was written, filled with zero bits to a whole byte."""
        size = (self._length + 7) // 8
        return (self._value << (8 * size - self._length)).to_bytes(size, "big")

    def rbsp(self) -> bytes:
        """What was written, then rbsp_trailing_bits() (a one, then zeros to a whole byte)."""
        self.u(1, 1)
        return self.aligned()


def read_ue7(data: bytes, position: int) -> tuple[int, int]:
    """ue7(32) at `position` → value, next position: 7 bits a byte, the high bit says "more"."""
    value = 0
    for i in range(5):
        if position + i >= len(data):
            raise BpgError("the file ends inside the header")
        byte = data[position + i]
        if i == 0 and byte == 0x80:
            raise BpgError("a number in the header starts with an empty byte")
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            if value >= 1 << 32:
                break
            return value, position + i + 1
    raise BpgError("a number in the header exceeds 32 bits")


def write_ue7(value: int) -> bytes:
    """A value in 0…2**32 - 1 as ue7(32)."""
    if not 0 <= value < 1 << 32:
        raise BpgError(f"{value} does not fit in 32 bits")
    out = [value & 0x7F]
    while value := value >> 7:
        out.append(0x80 | (value & 0x7F))
    return bytes(reversed(out))
