"""One run from command to folder."""

import sys

if sys.platform == "win32":  # no fcntl there: no lock that dies with its holder
    sys.exit("error: retdm runs on Linux and macOS; on Windows use WSL (retdm.losses and retdm.criteria run anywhere)")
