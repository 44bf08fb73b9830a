"""Tables: every dialect that people have on their disks, and line numbers in every refusal."""

from __future__ import annotations

import gzip
import time
from pathlib import Path

import numpy as np
import pytest

from fastbp.data import tabular
from fastbp.data.tabular import Table, read_table
from fastbp.errors import DataError, UsageError


def table(tmp_path: Path, text: str | bytes, **options: object) -> Table:
    path = tmp_path / "table.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return read_table(path, **options)  # type: ignore[arg-type]


def refused(tmp_path: Path, text: str | bytes, *words: str, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        table(tmp_path, text, **options)
    message = str(caught.value)
    assert "table.csv" in message
    for word in words:
        assert word in message, message
    assert "\n" not in message
    return message


@pytest.mark.parametrize("mark", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize("header", [True, False])
@pytest.mark.parametrize("packed", [False, True])
def test_dialects(tmp_path: Path, mark: str, end: str, bom: bytes, quote: str, header: bool, packed: bool) -> None:
    rows = [["width", "height", "label"]] if header else []
    rows += [["1.5", "-2e1", "cat"], ["+.5", "3.", "dog"]]
    text = end.join(mark.join(f"{quote}{cell}{quote}" for cell in row) for row in rows) + end
    content = bom + text.encode()
    result = table(tmp_path, gzip.compress(content) if packed else content)
    assert result.x.tolist() == [[1.5, -20.0], [0.5, 3.0]]
    assert result.labels.tolist() == ["cat", "dog"]
    assert result.feature_names == (("width", "height") if header else ())
    assert result.lines.tolist() == ([2, 3] if header else [1, 2])


def test_blank_lines_and_missing_last_newline(tmp_path: Path) -> None:
    result = table(tmp_path, "\n1,2,0\n\n   \n3,4,1")
    assert result.x.tolist() == [[1, 2], [3, 4]]
    assert result.lines.tolist() == [2, 5]


def test_bytes_stay_bytes_until_something_else_comes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert table(tmp_path, "0,255,1\n7,8,2\n").x.dtype == np.uint8
    monkeypatch.setattr(tabular, "BLOCK_CHARACTERS", 1)  # one block for each line
    result = table(tmp_path, "0,255,1\n7,8.5,2\n9,256,1\n")
    assert result.x.dtype == np.float64
    assert result.x.tolist() == [[0, 255], [7, 8.5], [9, 256]]
    assert result.lines.tolist() == [1, 2, 3]


@pytest.mark.parametrize("name", ["label", "Class", "TARGET", "y"])
def test_label_column_by_well_known_name(tmp_path: Path, name: str) -> None:
    result = table(tmp_path, f"a,{name},b\n1,2,3\n4,5,6\n")
    assert result.label_column == 1
    assert result.labels.tolist() == ["2", "5"]
    assert result.x.tolist() == [[1, 3], [4, 6]]
    assert result.feature_names == ("a", "b")


@pytest.mark.parametrize("label", ["b", "1", 1, -2])
def test_label_column_by_wish(tmp_path: Path, label: str | int) -> None:
    assert table(tmp_path, "a,b,label\n1,2,3\n4,5,6\n", label=label).labels.tolist() == ["2", "5"]


def test_label_column_is_the_only_one_with_texts(tmp_path: Path) -> None:
    assert table(tmp_path, "1,B,2\n3,A,4\n").labels.tolist() == ["B", "A"]
    assert table(tmp_path, "T,1,2\nA,3,4\n").labels.tolist() == ["T", "A"]


def test_label_column_is_the_last_by_default(tmp_path: Path) -> None:
    assert table(tmp_path, "a,b,price\n1,2,3\n4,5,6\n").labels.tolist() == ["3", "6"]
    assert table(tmp_path, "1,2,3\n4,5,6\n").labels.tolist() == ["3", "6"]


def pixel_lines(first: list[int], last: list[int], n_middle: int = 63) -> str:
    return "".join(
        f"{a},{','.join(str((a * k) % 256) for k in range(n_middle))},{b}\n" for a, b in zip(first, last, strict=True)
    )


def test_label_comes_first_in_a_table_of_pixels_without_names(tmp_path: Path) -> None:
    assert table(tmp_path, pixel_lines([5, 3, 9], [0, 0, 0])).label_column == 0
    assert table(tmp_path, pixel_lines([5, 5, 5], [0, 0, 0])).label_column == 0
    # 8x8 digits with the label last: the first pixel never changes
    assert table(tmp_path, pixel_lines([0, 0, 0], [5, 3, 9])).label_column == 64
    # not the pixels of a square
    assert table(tmp_path, pixel_lines([5, 3, 9], [0, 1, 0], 64)).label_column == 65


@pytest.mark.parametrize(
    ("text", "is_header"),
    [
        ("a,b\n1,2\n3,4\n", True),
        ("label," + ",".join(map(str, range(8))) + "\n" + "9," * 8 + "1\n", True),
        (",".join(map(str, range(10))) + "\n" + "9," * 9 + "1\n", True),
        ("0,1,2\n3,4,5\n", False),
        ("1,x\n2,y\n", False),
        ("5.1,3.5,x\n4.9,3.0,y\n", False),
        ('"a","b"\n1,2\n', True),
        (",b\n1,2\n", True),
    ],
)
def test_header_or_not(tmp_path: Path, text: str, is_header: bool) -> None:
    result = table(tmp_path, text)
    assert bool(result.header) == is_header
    assert int(result.lines[0]) == (2 if is_header else 1)


def test_a_label_may_hold_the_delimiter_in_quotes(tmp_path: Path) -> None:
    result = table(tmp_path, 'kind,a,b\n"salt, white",1,2\n"say ""hi""",3,4\n')
    assert result.labels.tolist() == ["salt, white", 'say "hi"']
    assert result.x.tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,b,label\n1,2,0\n1,0\n", ("line 3", "2 columns", "3 were expected")),
        ("a,b,label\n1,2,0\n1,2,3,0\n", ("line 3", "4 columns")),
        ('a,b,label\n1,2,0\n"1","2"\n', ("line 3", "2 columns")),
        ("a,b,label\n1,2,0\n1,two,0\n", ("line 3", "column 'b'", "'two'")),
        ("1,2,0\n1,two,0\n3,4,1\n", ("line 2", "column 1", "'two'")),
        ("a,b,label\n1,,0\n", ("line 2", "column 'b'", "found nothing")),
        ("a,label\n,0\n1,0\n", ("line 2", "column 'a'", "found nothing")),
        ("a,b,label\n1,NaN,0\n", ("line 2", "'NaN'", "finite")),
        ("a,b,label\n1,2,0\n\n1,-inf,0\n", ("line 4", "'-inf'")),
        ("a,b,label\n1,1e999,0\n", ("line 2", "'1e999'")),
        ("a,b,label\n1,0x10,0\n", ("line 2", "'0x10'")),
        ("a,b,label\n1,1_000,0\n", ("line 2", "'1_000'")),
        ("a;b;label\n1;2,5;0\n", ("line 2", "'2,5'", "decimals need a point")),
        ('a,b,label\n1,"2,5",0\n', ("line 2", "'2,5'")),
        ('a,b,label\n1,"2,0\n', ("line 2", "quotes do not match")),
        ("a,b,label\n", ("header and no rows",)),
        ("", ("no rows",)),
        ("\n \n", ("no rows",)),
        ("1\n2\n", ("line 1", "1 column")),
        ("a\n1\n", ("1 column",)),
        (b"a,label\n1,caf\xe9\n", ("line 2", "0xe9", "UTF-8")),
        ("a,label\n1,2\n".encode("utf-16"), ("UTF-16",)),
        (b"a,label\n1,\0\n", ("line 2", "zero byte")),
        (b"a,label\r1,2\r3,4\r", ("line 1", "carriage return")),
        (gzip.compress(b"a,label\n1,2\n")[:-3], ("gzip",)),
        (gzip.compress(b"a,label\n1,2\n") + b"more", ("gzip",)),
    ],
)
def test_refusals_name_the_line(tmp_path: Path, text: str | bytes, words: tuple[str, ...]) -> None:
    refused(tmp_path, text, *words)


def test_columns_are_counted_in_the_file(tmp_path: Path) -> None:
    refused(tmp_path, "0,1,2\n1,3,two\n0,4,5\n", "line 2", "column 2", "'two'", label=0)


def test_line_number_far_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tabular, "BLOCK_CHARACTERS", 1000)
    lines = [f"{k},{k},{k % 3}" for k in range(5000)]
    lines[4321] = "1,x,2"
    refused(tmp_path, "\n".join(lines), "line 4322", "column 1", "'x'")


def test_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(tmp_path, "1,2\n" * 100, "more than 50 bytes", max_bytes=50)
    bomb = gzip.compress(b"1,2\n" * 1_000_000)
    begin = time.perf_counter()
    refused(tmp_path, bomb, "more than 1000 bytes", max_bytes=1000)
    assert time.perf_counter() - begin < 2
    monkeypatch.setattr(tabular, "MAX_LINE", 10)
    refused(tmp_path, "1,2\n1,2,3,4,5,6,7,8\n", "line 2", "longer than 10 bytes")


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ("colour", ("colour", "a, b, kind")),
        ("kinds", ("did you mean 'kind'",)),
        ("3", ("from 0 to 2", "got 3")),
        (-4, ("got -4",)),
    ],
)
def test_label_that_is_not_there(tmp_path: Path, label: str | int, words: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        table(tmp_path, "a,b,kind\n1,2,3\n", label=label)
    for word in words:
        assert word in str(caught.value)


def test_label_name_that_stands_twice(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 columns are named 'a'"):
        table(tmp_path, "a,a,b\n1,2,3\n", label="a")


def test_test_table_takes_the_columns_of_the_training_table(tmp_path: Path) -> None:
    train = table(tmp_path, "kind,a,b\nx,1,2\n")
    (tmp_path / "test.csv").write_text("kind,a,b\ny,3,4\n")
    test = read_table(tmp_path / "test.csv", like=train)
    assert (test.labels.tolist(), test.x.tolist()) == (["y"], [[3, 4]])
    (tmp_path / "test.csv").write_text("a,b\n3,4\n")
    test = read_table(tmp_path / "test.csv", like=train)
    assert test.label_column is None
    assert test.x.tolist() == [[3, 4]]
    for text, words in (
        ("kind,b,a\ny,3,4\n", "column 1 is 'b' and not 'a'"),
        ("kind,a,b,c\ny,3,4,5\n", "4 columns and not 3"),
        ("1,2,3,4\n", "4 columns"),
    ):
        (tmp_path / "test.csv").write_text(text)
        with pytest.raises(DataError, match=words):
            read_table(tmp_path / "test.csv", like=train)


def test_a_big_table_of_pixels(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (1500, 784)), rng.integers(0, 10, 1500)
    lines = ["label," + ",".join(f"pixel{k}" for k in range(784))]
    lines += [
        f"{label}," + ",".join(map(str, row)) for label, row in zip(labels.tolist(), pixels.tolist(), strict=True)
    ]
    result = table(tmp_path, "\n".join(lines))
    np.testing.assert_array_equal(result.x, pixels)
    assert result.x.dtype == np.uint8
    assert result.labels.tolist() == [str(label) for label in labels]
