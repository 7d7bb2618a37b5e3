"""SpectraFM: a stellar foundation model from public APOGEE spectra.

The functions that most users need; each is imported at its first use, so that
``import spectrafm`` does not load torch::

    from spectrafm import Spectra, SpectraFM, from_pretrained, read_store

    model = SpectraFM.from_pretrained("results/demo/models/pretrain")
    table = model.predict(Spectra.read("aspcapStar-dr17-2M00000002+7417074.fits"))

    network, about = from_pretrained("results/demo/models/pretrain")
    stars = read_store("results/demo/store.zarr")
"""

__version__ = "0.1.0"

#: Public name -> module that defines it.
_DOOR = {
    "from_pretrained": "spectrafm.networks.saved",
    "Spectra": "spectrafm.spectra.spectra",
    "SpectraFM": "spectrafm.inference.pretrained",
    "read_store": "spectrafm.store.read",
}

__all__ = ["__version__", *_DOOR]


def __getattr__(name: str):
    if name not in _DOOR:
        raise AttributeError(f"module 'spectrafm' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_DOOR[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_DOOR})
