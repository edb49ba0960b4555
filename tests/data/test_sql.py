"""Rows that are the answer to a query: over files, over databases, in memory and in chunks."""

import os
import shutil
import socket
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diabolo import BasicAutoencoder, VariationalAutoencoder
from diabolo.data import blocks, sql
from diabolo.data.blocks import open_store
from diabolo.engine import loader
from diabolo.errors import InvalidData

N = 400
SMALL = {"max_epochs": 3, "random_state": 0}


@pytest.fixture(scope="module")
def orders():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "id": np.arange(N),
            "price": rng.gamma(2.0, 30.0, N).round(2),
            "kind": rng.choice(["book", "game", "film"], N),
            "paid": rng.uniform(size=N) < 0.7,
        }
    )


@pytest.fixture
def shop(orders, tmp_path):
    """A folder with the orders as Parquet files and as a SQLite database."""
    for i in range(4):
        orders[i * 100 : (i + 1) * 100].to_parquet(tmp_path / f"orders-{i}.parquet")
    with sqlite3.connect(tmp_path / "shop.db") as database:
        orders.to_sql("orders", database, index=False)
    database.close()
    return tmp_path


@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_query_over_files_is_a_table(in_chunks, shop, orders, monkeypatch):
    if in_chunks:
        for room in (blocks, loader):
            monkeypatch.setattr(room, "CHUNK_BYTES", 2_000)
        monkeypatch.setattr(blocks, "BLOCK_BYTES", 1_000)
    query = f"SELECT price, kind, paid FROM '{shop}/orders-*.parquet' ORDER BY id"
    opened = open_store(query)
    assert isinstance(opened, blocks.BlockReader) == in_chunks
    assert [column.kind for column in opened.schema.columns] == ["number", "category", "boolean"]
    model = VariationalAutoencoder(**SMALL).fit(query)
    assert model.n_samples_ == N
    np.testing.assert_allclose(model.score_samples(query), model.score_samples(orders), rtol=1e-5)


def test_a_query_whose_columns_are_numbers_is_rows_of_them(shop, orders):
    query = f"WITH paid AS (FROM '{shop}/orders-*.parquet' WHERE paid) SELECT id, price FROM paid ORDER BY id"
    opened = open_store(query, exclude=["id"])
    assert (opened.schema, opened.names) == (None, ("price",))
    np.testing.assert_array_equal(opened.rows[:, 0], orders["price"][orders["paid"]])
    assert BasicAutoencoder(n_latent=1, **SMALL).fit(query).feature_names_in_.tolist() == ["price"]


def test_a_query_over_a_sqlite_database(shop, orders):
    query = f"ATTACH '{shop}/shop.db' AS shop (TYPE sqlite); SELECT kind, price FROM shop.orders ORDER BY id"
    opened = open_store(query)
    assert opened.schema.decode(opened.rows).to_pandas()["kind"].tolist() == orders["kind"].tolist()


@pytest.fixture(scope="module")
def postgres(orders, tmp_path_factory):
    """A PostgreSQL server of Debian's package, its socket in a folder of its own."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("there is no PostgreSQL here: apt-get install postgresql")
    if os.getuid() != 0:
        pytest.skip("only root may start PostgreSQL as another user")
    folder, programs = Path(tmp_path_factory.mktemp("postgres")), found[-1].parent
    for parent in (folder, *folder.parents):
        if parent.stat().st_uid == 0 and parent != Path("/") and "pytest" in str(parent):
            parent.chmod(0o755)
    shutil.chown(folder, "postgres")

    def as_postgres(*words):
        command = ["runuser", "-u", "postgres", "--", *map(str, words)]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    as_postgres(programs / "initdb", "-D", folder / "data", "-A", "trust", "-N")
    options = f"-p {port} -k {folder} -c listen_addresses=''"
    as_postgres(programs / "pg_ctl", "-D", folder / "data", "-w", "-o", options, "start")
    (folder / "orders.csv").write_text(orders.to_csv(index=False))
    table = "CREATE TABLE orders (id int, price double precision, kind text, paid boolean)"
    copy = f"COPY orders FROM '{folder}/orders.csv' CSV HEADER"
    as_postgres(programs / "psql", "-h", folder, "-p", port, "-c", table, "-c", copy)
    yield f"host={folder} port={port} user=postgres dbname=postgres"
    as_postgres(programs / "pg_ctl", "-D", folder / "data", "-m", "immediate", "stop")


def test_a_query_over_a_postgresql_database(postgres, orders):
    query = f"ATTACH '{postgres}' AS shop (TYPE postgres); SELECT * EXCLUDE (id) FROM shop.orders ORDER BY id"
    opened = open_store(query)
    assert [column.kind for column in opened.schema.columns] == ["number", "category", "boolean"]
    model = VariationalAutoencoder(**SMALL).fit(orders.drop(columns="id"))
    np.testing.assert_allclose(model.score_samples(query), model.score_samples(orders), rtol=1e-5)


BAD_QUERIES = {
    "SELECT nothing FROM '{shop}/orders-0.parquet'": "nothing",
    "SELECT * FROM '{shop}/none.parquet'": "none",
    "SELEC * FROM '{shop}/orders-0.parquet'": "SELEC",
    "SELECT * FROM '{shop}/orders-0.parquet' WHERE id < 0": "rows",
    "SELECT id FROM '{shop}/orders-0.parquet' WHERE id < 0": "rows",
}


@pytest.mark.parametrize("query", BAD_QUERIES)
def test_a_query_that_has_no_answer_is_refused(query, shop):
    with pytest.raises(InvalidData, match=f"(?s){BAD_QUERIES[query]}"):
        open_store(query.format(shop=shop))


def test_without_duckdb_one_is_told_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "duckdb", None)
    with pytest.raises(InvalidData, match=r"diabolo\[sql\]"):
        next(sql.answer("SELECT 1"))


def test_a_query_may_be_longer_than_a_files_name():
    assert open_store(f"SELECT 1.5 AS x, {' + '.join(['1'] * 200)} AS y").rows.tolist() == [[1.5, 200.0]]


def test_a_file_may_be_called_as_a_query_begins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pd.DataFrame({"x": [1.5, 2.5]}).to_csv("select me.csv", index=False)
    assert open_store("select me.csv").names == ("x",)
