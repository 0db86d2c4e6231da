"""The broker's daemon: follows the events topic, dispatches, and starts again where it stopped."""
