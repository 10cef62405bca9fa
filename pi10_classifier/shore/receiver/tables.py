"""The tables of a store, in the SQL that SQLite and PostgreSQL share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Types:
    """What the two databases call differently.

    key: a number that the database gives. integer: 64 bits. real: 64 bits. by_key: what follows a
    table whose rows lie in the order of its key.
    """

    key: str
    integer: str
    real: str
    blob: str
    by_key: str = ""


# sampled: the first minute that the line reports; its sums belong to the hour of that minute.
# classes: that a model's lines have named. complete: minutes of lines that name all that was there.
# spread: minutes whose squares are known. images, failed ...: of the hour in which they were sent
_TABLES = """
create table if not exists facts(name text primary key, value text not null) {by_key};
create table if not exists ships(ship {key}, name text not null unique);
create table if not exists sources(
  source {key}, id text not null unique, ship {integer} not null,
  first {integer} not null, seq {integer} not null, minute {integer} not null,
  received {integer} not null, held {integer} not null
);
create index if not exists sources_of_ship on sources(ship);
create table if not exists lines(
  source {integer}, seq {integer}, minute {integer} not null, sampled {integer},
  received {integer} not null, line text not null, primary key(source, seq)
) {by_key};
create unique index if not exists lines_minute on lines(source, minute);
create index if not exists lines_sampled on lines(source, sampled) where sampled is not null;
create table if not exists densities(
  ship {integer}, hour {integer}, label text, minutes {integer} not null, raised {real} not null,
  variance {real} not null, largest {real} not null, litres {real} not null,
  squares {real} not null, unknown {integer} not null, primary key(ship, hour, label)
) {by_key};
create table if not exists images(
  ship {integer}, hour {integer}, label text, images {integer} not null,
  primary key(ship, hour, label)
) {by_key};
create table if not exists hours(
  ship {integer}, hour {integer}, lines {integer} not null, failed {integer} not null,
  skipped {integer} not null, backlog {integer} not null, no_density {integer} not null,
  minutes {integer} not null, hits {integer} not null, misses {integer} not null,
  primary key(ship, hour)
) {by_key};
create table if not exists flags(
  ship {integer}, hour {integer}, flag text, minutes {integer} not null,
  primary key(ship, hour, flag)
) {by_key};
create table if not exists track(
  ship {integer}, slot {integer}, minute {integer} not null, latitude {real} not null,
  longitude {real} not null, primary key(ship, slot)
) {by_key};
create table if not exists refused(
  ship {integer}, digest {blob}, received {integer} not null, reason text not null,
  line text not null, times {integer} not null, primary key(ship, digest)
) {by_key};
create table if not exists classes(
  ship {integer}, model text, label text, primary key(ship, model, label)
) {by_key};
create table if not exists complete(
  ship {integer}, model text, hour {integer}, minutes {integer} not null,
  primary key(ship, model, hour)
) {by_key};
create table if not exists refused_beyond(ship {integer} primary key, times {integer} not null);
create table if not exists pictures(
  picture {key}, ship {integer} not null, received {integer} not null,
  particle text not null, label text not null, score {real} not null, esd_um {real},
  jpeg {blob} not null, unique(ship, particle)
);
create table if not exists refused_numbers(
  source {integer}, seq {integer}, primary key(source, seq)
) {by_key};
"""


def statements(types: Types) -> Iterator[str]:
    """One statement for each table and index that may be missing."""
    text = _TABLES.format(
        key=types.key, integer=types.integer, real=types.real, blob=types.blob, by_key=types.by_key
    )
    return (part for part in text.split(";") if part.strip())
