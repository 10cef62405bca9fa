"""Names and sidecars of the instrument, tested by corrupting them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pi10_classifier.instrument.hits_misses import MAX_HITS_MISSES_ROWS, HitsMisses
from pi10_classifier.instrument.names import Bin, Kind, Particle, bin_folder, kind_of, particle_id

NAME = "pia7.2024-06-24.1454+N00000123.tif"
START = datetime(2024, 6, 24, 14, 54, tzinfo=UTC)
PIA7 = Particle(Bin("pia7", START), 123)

moments = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(
    lambda when: when.replace(second=0, microsecond=0, tzinfo=UTC)
)
instruments = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,31}", fullmatch=True)


class TestParticle:
    @pytest.mark.parametrize(
        "member",
        [
            NAME,
            f"RawImages\\{NAME}",
            f"RawImages/{NAME}",
            f"./2024-06-24/1454/RawImages/{NAME}",
            f"C:\\cruise\\RawImages\\{NAME}",
            NAME.replace(".tif", ".TIF"),
            NAME.replace(".tif", ".tiff"),
        ],
    )
    def test_reads_a_name_wherever_it_lies(self, member: str) -> None:
        assert Particle.parse(member) == PIA7

    @pytest.mark.parametrize(
        "member",
        [
            "",
            "Background.tif",
            NAME.replace("2024-06-24", "2024-06-31"),
            NAME.replace("2024-06-24", "2023-02-29"),
            NAME.replace("2024-06-24", "0000-06-24"),
            NAME.replace("2024-06-24", "2024-6-24"),
            NAME.replace("1454", "2400"),
            NAME.replace("1454", "1460"),
            NAME.replace("+N", "-N"),
            NAME.replace("00000123", "0000123"),
            NAME.replace("00000123", "000000123"),
            NAME.replace("00000123", "0000012\u0663"),
            NAME.replace("pia7", ""),
            NAME.replace("pia7", "p\u0131a7"),
            NAME.replace(".tif", ".t\u0131f"),
            NAME.replace(".tif", ".png"),
            NAME + "\n",
            NAME + "/",
            " " + NAME,
        ],
    )
    def test_refuses_what_only_resembles_a_name(self, member: str) -> None:
        assert Particle.parse(member) is None

    @given(moments, instruments, st.integers(0, 99_999_999))
    @example(datetime(24, 1, 1, tzinfo=UTC), "pia7", 0)
    def test_an_identity_reads_back(self, start: datetime, instrument: str, number: int) -> None:
        particle = Particle(Bin(instrument, start), number)
        assert Particle.parse(f"{particle}.tif") == particle

    @given(st.integers(0, len(NAME) - 1), st.characters(codec="utf-8"))
    @example(NAME.index("2024"), "0")
    @example(1, "\u0131")
    @example(NAME.index("tif"), "\u017f")
    def test_one_changed_character_gives_none_or_another_sound_identity(
        self, at: int, character: str
    ) -> None:
        changed = NAME[:at] + character + NAME[at + 1 :]
        particle = Particle.parse(changed)
        if particle is None:
            return
        assert Particle.parse(f"{particle}.tif") == particle
        if particle == PIA7:
            # a folder in front, or letters whose case does not matter
            assert changed == NAME or changed.lower() == NAME.lower()
        else:
            assert str(particle).lower() in changed.lower()

    @given(st.integers(0, len(NAME)), st.characters(codec="utf-8"))
    def test_one_inserted_character_never_gives_the_same_identity(
        self, at: int, character: str
    ) -> None:
        changed = NAME[:at] + character + NAME[at:]
        if character not in "/\\" and changed.lower() != NAME.lower() + "f":
            assert Particle.parse(changed) != PIA7

    @pytest.mark.parametrize(
        ("member", "expected"),
        [
            (f"RawImages\\{NAME}", "pia7.2024-06-24.1454+N00000123"),
            ("a/b.png", "a/b"),
            ("a\\b.c.png", "a\\b.c"),
            ("a.b/c", "a.b/c"),
            (".hidden", ".hidden"),
            ("a/", "a/"),
            ("", ""),
        ],
    )
    def test_other_names_are_identified_by_their_path(self, member: str, expected: str) -> None:
        assert particle_id(member) == expected


class TestBin:
    @pytest.mark.parametrize(("minute", "partial"), [(50, False), (0, False), (54, True)])
    def test_partial_bins_start_off_the_grid(self, minute: int, partial: bool) -> None:
        assert Bin("pia7", START.replace(minute=minute)).is_partial is partial

    @pytest.mark.parametrize(
        "path",
        [
            "cruise/2024-06-24/1454.tar",
            "cruise/2024-06-24/1454",
            "cruise\\2024-06-24\\1454.tar.gz",
            "s3://bucket/2023-01-01/0000/2024-06-24/1454.zip",
        ],
    )
    def test_reads_an_archives_path(self, path: str) -> None:
        assert Bin.from_archive(path) == Bin("", START)

    @pytest.mark.parametrize(
        "path",
        ["1454.tar", "2024-06-24/14545.tar", "2024-06-24/abcd.tar", "2024-13-24/1454.tar",
         "2024-06-24/2460", "2024-06-24", ""],
    )  # fmt: skip
    def test_other_paths_name_no_bin(self, path: str) -> None:
        assert Bin.from_archive(path) is None

    @given(moments, st.one_of(st.just(""), instruments))
    def test_text_reads_back(self, start: datetime, instrument: str) -> None:
        assert Bin.parse(str(Bin(instrument, start))) == Bin(instrument, start)

    @pytest.mark.parametrize(
        "text",
        ["", "pia7", "pia7.2024-06-24", "pia7.2024-06-24.145", "pia7.2024-06-24.14545",
         "pia7.2024-06-24x.1454", "pia7.2024x06x24.1454", "pia7.2024-06-31.1454"],
    )  # fmt: skip
    def test_refuses_what_is_no_bin(self, text: str) -> None:
        assert Bin.parse(text) is None

    def test_sorts_by_instrument_then_time(self) -> None:
        early, late = START, START.replace(hour=15)
        bins = [Bin("pia7", late), Bin("pia1", late), Bin("pia7", early)]
        assert sorted(bins) == [Bin("pia1", late), Bin("pia7", early), Bin("pia7", late)]


class TestMembers:
    @pytest.mark.parametrize(
        ("member", "kind"),
        [
            (f"RawImages\\{NAME}", Kind.IMAGE),
            ("a.PNG", Kind.IMAGE),
            ("a.jpeg", Kind.IMAGE),
            ("Background.tif", Kind.SIDECAR),
            ("x/FlowCellEdges.TIF", Kind.SIDECAR),
            ("Bubbles.txt", Kind.SIDECAR),
            ("x\\Cameralog.txt", Kind.SIDECAR),
            ("2024-06-24/1450/HitsMisses.txt", Kind.HITS_MISSES),
            ("MyBackground.tif", Kind.IMAGE),
            (f"RawImages/._{NAME}", Kind.OTHER),
            (".DS_Store", Kind.OTHER),
            ("notes.docx", Kind.OTHER),
            ("tif", Kind.OTHER),
            ("", Kind.OTHER),
        ],
    )
    def test_are_told_by_their_names(self, member: str, kind: Kind) -> None:
        assert kind_of(member) is kind

    @pytest.mark.parametrize(
        ("member", "folder"),
        [
            (f"RawImages\\{NAME}", ""),
            (f"1450/rawimages/{NAME}", "1450"),
            (f"1450\\RawImages\\{NAME}", "1450"),
            (f"1450/{NAME}", "1450"),
            (f"MyRawImages/{NAME}", "MyRawImages"),
            (NAME, ""),
        ],
    )
    def test_belong_to_the_folder_above_raw_images(self, member: str, folder: str) -> None:
        assert bin_folder(member) == folder


class TestHitsMisses:
    @pytest.mark.parametrize(
        "data",
        [
            b"hits,misses\n10,20\n30,40\n",
            b"10,20\n30,40\n",
            b"10,20\r\n30,40",
            b"\xef\xbb\xbfHits,Misses\r\n10,20\r\n30,40\r\n",
            b"\n\n hits , misses \n10 , 20\n30,40\n\n",
            b"Hits (n);Misses (n)\n10;20\n30;40",
            b"10\t20\n30\t40",
            b"0010,20\n30,40",
        ],
    )
    def test_rows_are_read(self, data: bytes) -> None:
        assert HitsMisses.parse(data).rows == ((10, 20), (30, 40))

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            (b"10\n", "line 1"),
            (b"hits,misses\n10,20,30\n", "line 2"),
            (b"10,20\n\nhits,misses\n", "line 3"),
            (b"hits,misses\nhits,misses\n", "line 2"),
            (b"abc,5\n10,20\n", "line 1"),
            (b"junk\n10,20\n", "line 1"),
            (b"10,-20\n", "line 1"),
            (b"10,2.5\n", "line 1"),
            (b"10,\xd9\xa3\n", "line 1"),
            (b"10,1e3\n", "line 1"),
            (b"10,", "line 1"),
            (b"1,1234567890123", "over 12 digits"),
            (b"\x00" * 40, "line 1"),
            ("hits,misses\n1,2".encode("utf-16"), "line 1"),
            (b"1,2\n" * (MAX_HITS_MISSES_ROWS + 1), "rows"),
            (b"\n" * 3000 + b"junk", "line 3001"),
            (b"1,2\n" * 20_000, "bytes"),
        ],
        ids=range(17),
    )
    def test_what_is_no_table_is_refused_with_its_line(self, data: bytes, said: str) -> None:
        with pytest.raises(ValueError, match=said) as caught:
            HitsMisses.parse(data)
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        ("data", "rows"),
        [
            (b"1,2\n\n3,4\n", ((1, 2), None, (3, 4))),
            (b"NA,NA\n3,4\n5,6\n", (None, (3, 4), (5, 6))),  # no header: the others keep theirs
            (b"hits,misses\nnan,nan\n3,4\n", (None, (3, 4))),
            (b"1,2\nN/A,\n3,4\n", ((1, 2), None, (3, 4))),
            (b"1,2\n,\n3,4\n", ((1, 2), None, (3, 4))),
            (b"\n1,2\n3,4\n\n\n", (None, (1, 2), (3, 4))),
            (b",\n1,2\n", (None, (1, 2))),
            (b"\n" + b"1,2\n" * 10, ((1, 2),) * 10),
            (b"1,2\n\n" * 10, ((1, 2),) * 10),
            (b"1,2\n\n\n\n" + b"1,2\n\n" * 8, ((1, 2), None, *((1, 2),) * 8)),
            (b"Misses,Hits\n2,1\n", ((1, 2),)),
            (b"1,2\r\r\n3,4\r\r\n", ((1, 2), (3, 4))),
            (b"1,2\n\n3,4\n\n5,6\n\n", ((1, 2), None, (3, 4), None, (5, 6))),
            (b"1,2\n\n3,4\n5,6\n", ((1, 2), None, (3, 4), (5, 6))),
            (b"1,2\n3,4\nTotal,6\n", ((1, 2), (3, 4))),
            (b"1,2\n3,4\ntotal,4,6\n", ((1, 2), (3, 4))),
        ],
    )
    def test_a_blank_row_is_a_minute_of_which_nothing_is_known(self, data, rows) -> None:
        assert HitsMisses.parse(data).rows == rows

    def test_more_blank_lines_than_a_day_has_minutes_are_refused(self) -> None:
        with pytest.raises(ValueError, match="more than 1440 rows"):
            HitsMisses.parse(b"1,2\n" + b"\n" * 2000 + b"3,4")

    def test_an_empty_file_has_no_rows(self) -> None:
        assert HitsMisses.parse(b"").rows == ()

    @given(st.binary(max_size=300))
    def test_any_bytes_give_rows_or_a_value_error(self, data: bytes) -> None:
        try:
            rows = HitsMisses.parse(data).rows
        except ValueError:
            return
        assert all(row is None or min(row) >= 0 for row in rows)
