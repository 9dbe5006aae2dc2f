"""JiKong (JK) battery management systems over Bluetooth LE."""

__version__ = "0.1.0"
