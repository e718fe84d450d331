"""The .bpg container: header, short SPS and NAL units, read and written in memory.

A .bpg file is one HEVC intra picture (a sequence of them if animated) whose VPS and SPS are
replaced by a header of a few bytes. Layout and names follow Bellard's "BPG Specification" 0.9.5.
What is wrong raises BpgError before anything is allocated for the picture.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.codecs.bpg.bits import BpgError, read_ue7, write_ue7
from bench.codecs.bpg.header import MAX_PIXELS, Header
from bench.codecs.bpg.nal import (
    NAL_PPS,
    START_CODE,
    is_intra_picture,
    is_slice,
    join_annexb,
    nal_layer,
    nal_type,
    split_annexb,
    starts_picture,
    to_base_layer,
)
from bench.codecs.bpg.sps import Sps

SMALL_WORK = 2**24
"""Pixels, summed over slices, that are decoded without asking whether so many slices make sense."""


@dataclass(frozen=True)
class BpgFile:
    """A .bpg file taken apart; `nals` hold PPS and slices without start codes, in file order."""

    header: Header
    sps: Sps
    nals: tuple[bytes, ...]
    alpha_sps: Sps | None = None

    @classmethod
    def parse(cls, data: bytes, max_pixels: int = MAX_PIXELS) -> BpgFile:
        """A whole file → its parts. Raises BpgError; nothing of the picture is decoded."""
        header, position = Header.parse(data, max_pixels)
        end = len(data)
        if header.picture_data_length:
            end = position + header.picture_data_length
            if end > len(data):
                raise BpgError(
                    f"the file ends early: {len(data)} bytes, and the header announces {end}"
                )
        alpha_sps = None
        if header.has_extra_plane:
            alpha_sps, position = _read_short(data[:end], position, header, alpha=True)
        sps, position = _read_short(data[:end], position, header, alpha=False)
        nals = split_annexb(data[position:end])
        if any(len(nal) < 3 for nal in nals):
            raise BpgError("a NAL unit has no payload")
        if not any(is_slice(nal) for nal in nals):
            raise BpgError("the file holds no picture: it ends before the first slice")
        return cls(header, sps, tuple(nals), alpha_sps)

    def write(self) -> bytes:
        """The whole file. BpgError where the container cannot say what the SPS says."""
        shorts = []
        if self.header.has_extra_plane != (self.alpha_sps is not None):
            raise BpgError("the header and the alpha plane contradict each other")
        if self.alpha_sps is not None:
            shorts.append(self.alpha_sps.write_short(self.header, alpha=True))
        shorts.append(self.sps.write_short(self.header))
        body = b"".join(write_ue7(len(short)) + short for short in shorts)
        body += START_CODE.join(self.nals)
        header = self.header
        if header.picture_data_length:
            header = replace(header, picture_data_length=len(body))
        return header.write() + body

    def still(self, *, alpha: bool = False) -> bytes:
        """The first picture as a byte stream that any HEVC decoder reads.

        Its colour planes, or its alpha (or W) plane alone, as a gray picture. Whatever else the
        file holds (parameter sets of its own, messages, more frames) is left out. Raises BpgError
        for a picture that is not there, or not intra, or too large for the bytes that are there.
        """
        sps = self.alpha_sps if alpha else self.sps
        if sps is None:
            raise BpgError("the file has no alpha plane")
        layer = [to_base_layer(nal) for nal in self.nals if nal_layer(nal) == int(alpha)]
        chosen: list[bytes] = []
        slices: list[bytes] = []
        for nal in layer:
            if is_slice(nal):
                if starts_picture(nal) and slices:
                    break  # the next frame of an animation
                slices.append(nal)
            if is_slice(nal) or nal_type(nal) == NAL_PPS:
                chosen.append(nal)
        if not slices or not all(is_intra_picture(nal) for nal in slices):
            raise BpgError("the file holds no intra picture")
        _check_work(sps, slices)
        return join_annexb([sps.write_vps(), sps.write_full(), *chosen])

    @property
    def frames(self) -> int:
        """How many pictures the file holds; 1 unless it is an animation."""
        return sum(
            is_slice(nal) and starts_picture(nal) for nal in self.nals if nal_layer(nal) == 0
        )


def _check_work(sps: Sps, slices: list[bytes]) -> None:
    """Refuses slices that are too short for the picture, before anything is allocated for it.

    A coding tree block takes at least one whole bit (mpm_idx, rem_intra_luma_pred_mode and PCM
    samples are coded without compression), so a picture cannot have more blocks than its slices
    have bits. A decoder that reads past the end of a slice may go on to the end of the picture,
    so each slice counts in full; small pictures, which are done at once, may have any number.
    """
    size = 1 << sps.log2_ctb_size
    width, height = sps.pic_width_in_luma_samples, sps.pic_height_in_luma_samples
    blocks = -(-width // size) * -(-height // size)
    bits = 8 * sum(map(len, slices))
    if blocks > bits:
        raise BpgError(f"{bits // 8} bytes are too few for a picture of {width}×{height} pixels")
    if len(slices) * blocks > bits and len(slices) * width * height > SMALL_WORK:
        raise BpgError(f"{len(slices)} slices in {bits // 8} bytes are too many")


def _read_short(data: bytes, position: int, header: Header, *, alpha: bool) -> tuple[Sps, int]:
    length, position = read_ue7(data, position)
    if length > len(data) - position:
        raise BpgError("the file ends inside the SPS")
    short = data[position : position + length]
    return Sps.parse_short(short, header, alpha=alpha), position + length
