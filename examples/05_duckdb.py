"""DuckDB: questions to the index, without opening a volume.

    python examples/05_duckdb.py /mnt/dicom
"""

import sys
from pathlib import Path

import duckdb

index = Path(sys.argv[1]) / "index.csv"
print(duckdb.sql(f"""
    SELECT modality, status, count(*) AS volumes, sum(bytes) // 1000000 AS megabytes
    FROM read_csv('{index}')
    GROUP BY ALL ORDER BY megabytes DESC
"""))
