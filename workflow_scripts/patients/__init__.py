"""Clinical features of patients: risk groups and whole tissues (Results, Fig. 4a-f)."""
