"""Who may read, send, assign and grant what: Cedar policies, tables and the expected matrix. Data, no code."""
