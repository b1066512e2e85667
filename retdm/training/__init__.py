"""How a method is trained: callbacks of one Lightning fit."""
