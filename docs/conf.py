"""Configuration of Sphinx: `make docs` builds the site of this folder in build/docs/html."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
# The package of this checkout, for what pages are made from and for the notebooks' kernels.
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(HERE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
)

# The notebooks' shells find the command of this checkout.
BIN = HERE.parent / "build/docs-bin"
BIN.mkdir(parents=True, exist_ok=True)
(BIN / "spectrafm").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m spectrafm "$@"\n')
(BIN / "spectrafm").chmod(0o755)
os.environ["PATH"] = os.pathsep.join([str(BIN), os.environ["PATH"]])

from spectrafm import __version__  # noqa: E402

project = "SpectraFM"
author = "The SpectraFM developers"
copyright = author
release = version = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "generated"]
exclude_patterns = ["_static", "examples"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

# Each build runs the notebooks: a failing cell fails the build.
nb_execution_mode = "force"
nb_execution_timeout = 1200
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "pydata_sphinx_theme"
html_title = f"SpectraFM {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "navigation_with_keys": False,
    "show_nav_level": 1,
    "show_toc_level": 2,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
