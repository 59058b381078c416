"""Fingerprints of rows: a column that a later version adds to one table changes nothing that was said of another's rows."""

import pytest
import sqlalchemy as sa

from bus.store.tables import FIXED, LATER, deliveries, fingerprint, messages, metadata, receipts

#: What revision 0005 wrote into the journal about ``row`` of each table.
OF_BEFORE = {
    "messages": "a4a86dd881625187803389707e3ba61350dfbb590bf56d7bfb223fc3b29edcf9",
    "receipts": "ca4dc2958cdf8eeaed0873e411b274f5417c2f82822dfe8556ef1b8c4037ec3f",
    "deliveries": "ed2044c89b086858ed2234fbebb56cf2ec122728f092e1b47a1d53fee2608569",
}
#: Columns that are empty in it; the names are those of several tables.
EMPTY = ("subject", "reply", "document_id", "request", "request_type")


def row(table: sa.Table) -> dict[str, object]:
    """A row of revision 0005; what came later stands at its default, as an upgrade leaves it."""

    def value(column: sa.Column[object]) -> object:
        if isinstance(column.type, sa.LargeBinary):
            return b"<r/>"
        if isinstance(column.type.as_generic(), sa.Integer):
            return 7
        return "" if column.name in EMPTY or column.name in LATER.get(table.name, ()) else f"{column.name} đ"

    return {column.name: value(column) for column in table.columns}


def test_a_row_of_before_has_the_fingerprint_that_the_journal_holds() -> None:
    """Whatever columns have come since, the digests of revision 0005 still vouch for its rows."""
    fixed = {name: row(deliveries)[name] for name in FIXED}
    found = {table.name: fingerprint(table, row(table)) for table in (messages, receipts)}
    assert {**found, "deliveries": fingerprint(deliveries, fixed)} == OF_BEFORE


@pytest.mark.parametrize("name", sorted(LATER))
def test_a_column_that_came_later_to_one_table_is_left_out_of_that_table_only(name: str) -> None:
    """An empty column of the same name in another table is a fact about its row: a row that had none would be another."""
    for column in LATER[name]:
        empty = {"id": "1", column: ""}
        others = [table for table in metadata.sorted_tables if column not in LATER.get(table.name, ())]
        assert fingerprint(metadata.tables[name], empty) == fingerprint(metadata.tables[name], {"id": "1"})
        assert all(fingerprint(table, empty) != fingerprint(table, {"id": "1"}) for table in others)


@pytest.mark.parametrize("name", sorted(LATER))
def test_a_column_that_came_later_counts_once_it_says_something(name: str) -> None:
    """What a row says is vouched for, in whatever version it began to say it."""
    for column in LATER[name]:
        assert fingerprint(metadata.tables[name], {"id": "1", column: "x"}) != fingerprint(metadata.tables[name], {"id": "1"})


def test_every_column_that_came_later_has_the_default_of_rows_of_before() -> None:
    """Rows of before then read as empty, as ``LATER`` says of them."""
    for name, columns in LATER.items():
        for column in columns:
            default = metadata.tables[name].columns[column].server_default
            assert isinstance(default, sa.DefaultClause)
            assert default.arg == ""
