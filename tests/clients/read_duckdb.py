"""DuckDB: index.csv as a table."""

from collections import Counter

import duckdb

from common import index
from judge import Tally


def run(mount, volumes):
    tally = Tally("DuckDB index.csv")
    table = duckdb.read_csv(str(mount / "index.csv"))
    rows = index(mount)
    ((count,),) = table.count("*").fetchall()
    if count != len(rows):
        tally.fail("index.csv", f"{count} rows, not {len(rows)}")
    groups = dict(table.aggregate("modality, count(*)", "modality").fetchall())
    want = Counter(row["modality"] or None for row in rows)  # an empty field is NULL
    if groups != want:
        tally.fail("index.csv", f"modalities {groups}, not {dict(want)}")
    for path, times in table.aggregate("path, count(*)", "path").fetchall():
        if times > 1:
            tally.fail(path, f"is {times} rows")
        if (mount / path / "volume.json").is_file():
            tally.counts["paths exist"] += 1
        else:
            tally.fail(path, "does not exist")
    return [tally]
