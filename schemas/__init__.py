"""What may be said: Avro schemas of events, controls and the envelope, and their catalogue. Data, no code."""
