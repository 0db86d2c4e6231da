"""What may be said: the catalogue of event types and controls, their fields, and their Avro codec.

fastavro lives here. Turns a native record (JSON that a person or a program wrote) into a checked ``Event``,
and the fields of one compartment into bytes and back. Leaves who may say or read it to
``broker.policy`` and ``broker.authority``.
"""
