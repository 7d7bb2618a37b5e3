"""Registry of the readers of spectra: each is one file of this package and a line here.

A reader is a module with two functions: ``recognises(file)``, which says from a
`spectrafm.readers.peek.Peek` whether the file has its format, and ``read(path)``, which returns its
`spectrafm.spectra.Spectra`. Readers are asked in this order; the last takes any table.
"""

#: Name of the format -> module.
READERS = {
    "aspcapstar": "spectrafm.readers.aspcapstar",
    "apstar": "spectrafm.readers.apstar",
    "mwm": "spectrafm.readers.mwm",
    "lamost": "spectrafm.readers.lamost",
    "galah": "spectrafm.readers.galah",
    "boss": "spectrafm.readers.boss",
    "desi": "spectrafm.readers.desi",
    "jwst": "spectrafm.readers.jwst",
    "gaia": "spectrafm.readers.gaia",
    "table": "spectrafm.readers.table",
}
