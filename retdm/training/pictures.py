"""stub"""

from pytorch_lightning import Callback


class Pictures(Callback):
    pass
