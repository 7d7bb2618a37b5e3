"""Names and bits of APOGEE's flags.

Source: SDSS DR17, https://www.sdss4.org/dr17/irspec/apogee-bitmasks.
"""

from __future__ import annotations

from collections.abc import Iterable

from spectrafm.errors import SpectraFMError

STARFLAG = {
    "BAD_PIXELS": 0,
    "COMMISSIONING": 1,
    "BRIGHT_NEIGHBOR": 2,
    "VERY_BRIGHT_NEIGHBOR": 3,
    "LOW_SNR": 4,
    "PERSIST_HIGH": 9,
    "PERSIST_MED": 10,
    "PERSIST_LOW": 11,
    "PERSIST_JUMP_POS": 12,
    "PERSIST_JUMP_NEG": 13,
    "SUSPECT_RV_COMBINATION": 16,
    "SUSPECT_BROAD_LINES": 17,
    "BAD_RV_COMBINATION": 18,
    "RV_REJECT": 19,
    "RV_SUSPECT": 20,
    "MULTIPLE_SUSPECT": 21,
    "RV_FAIL": 22,
    "SUSPECT_ROTATION": 23,
    "MTPFLUX_LT_75": 24,
    "MTPFLUX_LT_50": 25,
}

ASPCAPFLAG = {
    "TEFF_WARN": 0,
    "LOGG_WARN": 1,
    "VMICRO_WARN": 2,
    "M_H_WARN": 3,
    "ALPHA_M_WARN": 4,
    "C_M_WARN": 5,
    "N_M_WARN": 6,
    "STAR_WARN": 7,
    "CHI2_WARN": 8,
    "COLORTE_WARN": 9,
    "ROTATION_WARN": 10,
    "SN_WARN": 11,
    "SPEC_HOLE_WARN": 12,
    "ATMOS_HOLE_WARN": 13,
    "VSINI_WARN": 14,
    "TEFF_BAD": 16,
    "LOGG_BAD": 17,
    "VMICRO_BAD": 18,
    "M_H_BAD": 19,
    "ALPHA_M_BAD": 20,
    "C_M_BAD": 21,
    "N_M_BAD": 22,
    "STAR_BAD": 23,
    "CHI2_BAD": 24,
    "COLORTE_BAD": 25,
    "ROTATION_BAD": 26,
    "SN_BAD": 27,
    "SPEC_HOLE_BAD": 28,
    "ATMOS_HOLE_BAD": 29,
    "VSINI_BAD": 30,
    "NO_ASPCAP_RESULT": 31,
    "MISSING_APSTAR": 32,
    "NO_GRID": 33,
    "BAD_FRAC_LOWSNR": 34,
    "BAD_FRAC_BADPIX": 35,
    "FERRE_FAIL": 36,
    "PROBLEM_TARGET": 40,
    "MULTIPLE_SUSPECT": 41,
}

#: Flags of one label, in its column NAME_FLAG (APOGEE_PARAMFLAG).
LABEL_FLAG = {
    "GRIDEDGE_BAD": 0,
    "CALRANGE_BAD": 1,
    "OTHER_BAD": 2,
    "FERRE_FAIL": 3,
    "PARAM_MISMATCH_BAD": 4,
    "FERRE_ERR_USED": 5,
    "TEFF_CUT": 6,
    "GRIDEDGE_WARN": 8,
    "CALRANGE_WARN": 9,
    "OTHER_WARN": 10,
    "FERRE_WARN": 11,
    "PARAM_MISMATCH_WARN": 12,
    "OPTICAL_WARN": 13,
    "ERR_WARN": 14,
    "FAINT_WARN": 15,
    "PARAM_FIXED": 16,
    "RV_WARN": 17,
    "SPEC_RC": 24,
    "SPEC_RGB": 25,
    "LOGG_CAL_MS": 26,
    "LOGG_CAL_RGB_MS": 27,
}

#: Every flag of ASPCAPFLAG that means bad or failed. Only some of them also set STAR_BAD.
ASPCAPFLAG_BAD = tuple(name for name, bit in ASPCAPFLAG.items() if bit >= 16)

BITMASKS = {"STARFLAG": STARFLAG, "ASPCAPFLAG": ASPCAPFLAG}


def mask_of(bitmask: str, names: Iterable[str]) -> int:
    """Integer with the bits of the named flags set.

    Parameters
    ----------
    bitmask : {"STARFLAG", "ASPCAPFLAG"}
    names : iterable of str
        Names of flags.

    Raises
    ------
    SpectraFMError
        When a name is not a flag of that bitmask; the message lists the known flags.
    """
    bits = BITMASKS[bitmask]
    mask = 0
    for name in names:
        if name not in bits:
            raise SpectraFMError(f"{name!r} is no {bitmask} flag; known: {', '.join(bits)}")
        mask |= 1 << bits[name]
    return mask
