"""The kinds of findings, with what becomes of the images, and a finding."""

from collections.abc import Sequence
from typing import NamedTuple

LEFT_OUT, MENDED, MENTIONED = "left out", "mended in the copy", "mentioned only"


class Kind(NamedTuple):
    """What a kind is called in a list, what becomes of its images, and what a page says of it."""

    title: str
    fate: str  # LEFT_OUT, MENDED or MENTIONED
    text: str


# In the order in which they are told. A kind that is left out hides an image from the search for copies and outliers.
KINDS = {
    "folder": Kind("folders that cannot be read", MENTIONED, "Nothing of what they hold was looked at."),
    "unreadable": Kind(
        "unreadable", LEFT_OUT, "Damaged beyond reading, a link to nothing, or not permitted to be read."
    ),
    "no-image": Kind("no images", LEFT_OUT, "By their suffix they would be images."),
    "truncated": Kind("truncated or damaged", LEFT_OUT, "Only a part can be decoded."),
    "too-many-pixels": Kind("too many pixels", LEFT_OUT, "They were not decoded, since they could fill the memory."),
    "not-finite": Kind("not finite", LEFT_OUT, "They hold NaN or infinite values."),
    "too-small": Kind("too small", LEFT_OUT, "Of the shorter side, as --least has it."),
    "black": Kind("nearly all black", LEFT_OUT, "Their levels hardly differ."),
    "white": Kind("nearly all white", LEFT_OUT, "Their levels hardly differ."),
    "plain": Kind("nearly one colour", LEFT_OUT, "Their levels hardly differ."),
    "duplicate": Kind("duplicates", LEFT_OUT, "Equal pixels. The first of each group is kept."),
    "near-duplicate": Kind(
        "near duplicates",
        LEFT_OUT,
        "Nearly the same picture. Look whether that is so: a larger --alike finds fewer, --keep near-duplicate leaves all in. The first of each group is kept.",
    ),
    "in-both": Kind("test images that are in train", LEFT_OUT, "The same picture, or nearly. That of train is kept."),
    "wrong-suffix": Kind("wrong suffixes", MENDED, "The content is of another format than the suffix says."),
    "smaller": Kind("much smaller than most", MENTIONED, "The shorter side is less than half of the median."),
    "long": Kind("long shapes", MENTIONED, "Twice as long for their width, or more, than the median."),
    "animated": Kind("animated, or of several pages", MENTIONED, "The first frame is taken."),
    "deep": Kind("more than 8 bits", MENTIONED, "They are reduced to 8 bits."),
    "grey": Kind("grey among colour", MENTIONED, "Few are."),
    "colour": Kind("colour among grey", MENTIONED, "Few are."),
    "transparent": Kind("transparent among opaque", MENTIONED, "Few are. They are composed on white."),
    "opaque": Kind("opaque among transparent", MENTIONED, "Few are. The others are composed on white."),
    "outlier": Kind(
        "outliers",
        MENTIONED,
        "Far from the images that are nearest to them, in pixels at 16x16. They may be of another kind, or rare. --remove outlier leaves them out.",
    ),
    "few": Kind("small classes", MENTIONED, "Classes with few images, of those that are left."),
}
# These cannot be kept: they cannot be read, or not trained with.
NEVER = ("unreadable", "no-image", "truncated", "too-many-pixels", "not-finite")


class Finding(NamedTuple):
    """One thing that was found."""

    kind: str  # a key of KINDS
    name: str  # of the image: its path below the folder, or the array and the row; else of the folder or class
    detail: str
    item: int = -1  # the image's place in the list of all; -1: no image
    group: int = -1  # from 0, of images that are alike; -1: none
    like: int = -1  # the item of this group that is kept


def grouped(found: Sequence[Finding]) -> str:
    """Returns " in 3 groups" for findings that have groups."""
    count = len({finding.group for finding in found} - {-1})
    return f" in {count:,} group{'s' if count > 1 else ''}" if count else ""


def shown(name: str) -> str:
    """Returns a name for people: bytes that are no UTF-8 and signs that cannot be seen are escaped."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in text)
