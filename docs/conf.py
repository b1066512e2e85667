"""Settings of the site: ``sphinx-build -W --keep-going -n docs <folder>`` builds it, and every warning is an error."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_site")]

import retdm  # noqa: E402

project = "retdm"
author = "The RETDM founders"
copyright = author
version = release = retdm.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "from_conf"]
exclude_patterns = ["_build", "_site"]
root_doc = "index"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3  # the anchors that GitHub gives, so that links work in both places
nb_execution_mode = "off"  # tests run the notebook; the page shows what it printed then

autodoc_default_options = {"members": True, "member-order": "bysource", "show-inheritance": True}
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True
napoleon_attr_annotations = False  # the sentences name shapes and types
autodoc_inherit_docstrings = False  # Lightning's are written for a site of its own
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True

nitpicky = True
nitpick_ignore_regex = [
    # Names of other libraries: their own sites describe them, and a build needs no network.
    (r"py:.*", r"(?!retdm\b).*"),
    # Type variables.
    (r"py:class", r"retdm\..*\.(T|R|Value)"),
]

html_theme = "furo"
html_title = "retdm"
smartquotes_action = "D"  # dashes alone
html_static_path = ["_site/static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
