# Tests of: spectrafm/__init__.py
"""`import spectrafm`: what is at hand, and that it costs nothing until it is used."""

import subprocess
import sys

import pytest

import spectrafm


def test_the_door_is_light_and_shows_what_is_behind_it():
    code = (
        "import sys, time; start = time.perf_counter(); import spectrafm;"
        "seconds = time.perf_counter() - start;"
        "heavy = [m for m in ('torch', 'numpy', 'zarr', 'astropy') if m in sys.modules];"
        "print(heavy, seconds < 0.3, 'from_pretrained' in dir(spectrafm))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["[]", "True", "True"]


@pytest.mark.parametrize("name", sorted(spectrafm.__all__))
def test_what_the_door_names_is_there(name):
    assert getattr(spectrafm, name) is not None
    assert name in dir(spectrafm)


def test_what_it_does_not_name_is_no_attribute():
    with pytest.raises(AttributeError, match="module 'spectrafm' has no attribute 'x'"):
        spectrafm.x  # noqa: B018
