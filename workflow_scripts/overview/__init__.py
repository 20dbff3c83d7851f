"""What the study is made of: cohorts and panels as ingested (Fig. 1, Suppl. Tables)."""
