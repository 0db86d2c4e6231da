"""What an agency runs: its outbox and inbox, the state of its cases, its loops, its commands and the demo."""
