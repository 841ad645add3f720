"""What explorers are built on: a widget with a thread, for pictures given and pictures made."""
