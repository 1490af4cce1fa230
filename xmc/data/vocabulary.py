"""Vocabularies of Annif, names by URI: TSV, CSV, and SKOS in the forms of RDF."""

import json
import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from xmc.data.documents import records, usable
from xmc.data.files import COMPRESSIONS, format_of, listing, open_bytes, text_lines
from xmc.data.formats import BROADER
from xmc.data.labels import URI, bare_uri, named_labels
from xmc.errors import XMCError, said
from xmc.storage import digest, read_json

log = logging.getLogger(__name__)

Concept = tuple[int, str, Mapping[str, str]]
"""Line (0: none), URI, and names by language, in lower case; that of a name that tells none is ""."""

_RDF = {"ttl": "turtle", "turtle": "turtle", "nt": "nt", "n3": "n3", "rdf": "xml", "owl": "xml", "xml": "xml"}
"""What rdflib calls the form, by the suffix."""
_RDF_BEGINS = re.compile(r"\s*(?:(@prefix|@base|prefix )|<\?xml|<rdf:)", re.IGNORECASE)
_UNREAD = ("jsonld", "skos", "trig", "nq")
_CACHED = 2  # raise when SKOS comes to be read differently


def vocabulary_in(folder: Path) -> Path | None:
    """The file `vocabulary` of the folder, None where there is none: TSV before CSV before SKOS."""
    names = [f"vocabulary.{kind}" for kind in ("tsv", "csv", *_RDF)]
    compressed = [f"{name}.{by}" for name in names for by in COMPRESSIONS]
    return next((folder / name for name in (*names, *compressed) if (folder / name).is_file()), None)


def read_vocabulary(path: Path, language: str | None, cache: Path) -> dict[str, str]:
    """Names by URI, in the order of the file; of SKOS in that of the URIs.

    `<uri><TAB>label` a line, a third column ignored, or by the suffix of the name CSV, with the columns uri and
    label_<language>, or SKOS. language: of the names, where the file tells it; None: the one that most concepts have a
    name in. A concept without a name in it has the one of no language, or else is called by its URI. As in Annif, what
    has no name in any language (CSV), or is deprecated (SKOS), is left out.

    Raises XMCError for whatever is no such file.
    """
    if format_of(path, _UNREAD):
        raise XMCError(
            f"{path} is not read as a vocabulary; convert it to Turtle (.ttl), or to `<uri><TAB>label` lines"
        )
    if kind := format_of(path, tuple(_RDF)):
        return named_labels(path, _in_language(path, _skos_kept(path, _RDF[kind], cache), language), "skos:Concept")
    if format_of(path, ("csv",)):
        expected = "a row for each below the header uri,label_<language>"
        return named_labels(path, _in_language(path, list(_csv(path)), language), expected)
    return named_labels(path, _tsv(path), "`<uri><TAB>label` a line")


def read_broader(path: Path, known: Collection[str], cache: Path) -> dict[str, list[str]]:
    """Of each concept of SKOS those directly above it, by URI, as skos:broader or skos:narrower tells; only known ones.

    Raises XMCError for a vocabulary in another form, and for whatever is no such file.
    """
    if (kind := format_of(path, tuple(_RDF))) is None:
        raise XMCError(
            f"data.parents={BROADER}: {path} is no SKOS, which alone tells it; give a vocabulary in .ttl or .rdf"
        )
    found: dict[str, list[str]] = _skos_file(path, _RDF[kind], cache, "broader.json")
    pairs = ((concept, [one for one in above if one in known]) for concept, above in found.items() if concept in known)
    return {concept: above for concept, above in pairs if above}


def advise_on_vocabulary(folder: Path, documents: Collection[Path]) -> None:
    """Log which file beside the documents may be the vocabulary."""
    beside = sorted(path for path in folder.iterdir() if path.is_file() and path not in documents)
    if found := [path.name for path in beside if _is_vocabulary(path)]:
        log.warning(
            "%s: subjects are called by their URIs, since there is no vocabulary.tsv; if %s has their names, set "
            "data.vocabulary=%s",
            *(folder, " or ".join(found), found[0]),
        )


def _tsv(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, line in text_lines(path):
        if number == 1 and (form := _RDF_BEGINS.match(line)):
            kind = "ttl" if form[1] else "rdf"
            raise XMCError(
                f"{path} begins as SKOS does, {line!r:.40}; rename it to {path.with_suffix('.' + kind).name}"
            )
        uri, _, rest = line.partition("\t")
        if line.strip():
            if not (label := bare_uri(uri.strip())):
                raise XMCError(f"{path}:{number}: expected `<uri><TAB>label`, found {line!r:.60}")
            yield number, label, rest.partition("\t")[0].strip()


def _csv(path: Path) -> Iterator[Concept]:
    for number, given in records(path):
        record = usable(given)
        columns = [column for column in record if column.startswith("label_")]
        if "uri" not in record or not columns:
            raise XMCError(f"{path}: columns {listing(record)}; expected uri and label_<language> in the header")
        if not (uri := bare_uri(record["uri"].strip())):
            raise XMCError(f"{path}:{number}: no uri; write it in the column of that name")
        yield number, uri, {c.removeprefix("label_").lower(): name for c in columns if (name := record[c].strip())}


def _in_language(path: Path, concepts: Sequence[Concept], language: str | None) -> Iterator[tuple[int, str, str]]:
    """Line, URI and name of each concept that has a name."""
    languages = Counter(tag for _, _, names in concepts for tag in names if tag)
    chosen = max(sorted(languages), key=languages.__getitem__, default="") if language is None else language.lower()
    if languages and chosen not in languages:
        raise XMCError(f"{path}: no names in {language!r}; it has them in {listing(languages)}. Set data.language")
    if language is None and len(languages) > 1:
        log.info("%s: names in %r, as most have one; data.language takes others: %s", path, chosen, listing(languages))
    for number, uri, names in concepts:
        if names:
            yield number, uri, names.get(chosen) or names.get("", "")


def _skos_kept(path: Path, form: str, cache: Path) -> list[Concept]:
    """The concepts, sorted."""
    return [(0, uri, names) for uri, names in _skos_file(path, form, cache, "concepts.json").items()]


def _skos_file(path: Path, form: str, cache: Path, name: str) -> dict[str, Any]:
    """What is kept of a vocabulary, parsed once, as that takes a minute for a hundred thousand."""
    from xmc.data.cache import cached

    def make(folder: Path) -> None:
        with open_bytes(path) as stream:
            names, broader = _skos(stream, form, path)
        (folder / "concepts.json").write_text(json.dumps(names))
        (folder / "broader.json").write_text(json.dumps(broader))

    def load(folder: Path) -> dict[str, Any]:
        found: dict[str, Any] = read_json(folder / name)
        return found

    return cached(cache / f"vocabulary-{_CACHED}-{form}-{digest(path)}", make, load)


def _skos(stream: BinaryIO, form: str, path: Path) -> tuple[dict[str, dict[str, str]], dict[str, list[str]]]:
    """Names by language, by URI, of every skos:Concept that is not owl:deprecated, and what is directly above which.

    A name is the skos:prefLabel, else the rdfs:label.
    """
    try:
        from rdflib import Graph, Literal, URIRef
        from rdflib.namespace import OWL, RDF, RDFS, SKOS
    except ImportError:
        raise XMCError(f"{path}: reading SKOS needs the package rdflib: pip install 'xmc[skos]'") from None

    graph = Graph()
    try:
        graph.parse(stream, format=form, publicID="file:///vocabulary")
    except Exception as error:  # each parser of rdflib has its own
        raise XMCError(
            f"{path}: cannot be read as {form} ({said(error):.200}); is it complete, and what its name says?"
        ) from None
    names: dict[str, dict[str, str]] = {}
    for concept in sorted(set(graph.subjects(RDF.type, SKOS.Concept)), key=str):
        if not isinstance(concept, URIRef) or (concept, OWL.deprecated, Literal(True)) in graph:
            continue
        told: dict[str, str] = {}
        for kind in (SKOS.prefLabel, RDFS.label):
            for name in graph.objects(concept, kind):
                if isinstance(name, Literal) and str(name).strip():
                    told.setdefault((name.language or "").lower(), " ".join(str(name).split()))
        names[str(concept)] = told or {"": str(concept)}
    pairs = {(str(lower), str(upper)) for lower, upper in graph.subject_objects(SKOS.broader)}
    pairs |= {(str(lower), str(upper)) for upper, lower in graph.subject_objects(SKOS.narrower)}
    broader: dict[str, list[str]] = {}
    for lower, upper in sorted(pairs):
        broader.setdefault(lower, []).append(upper)
    return names, broader


def _is_vocabulary(path: Path) -> bool:
    """By its suffix; TSV and CSV by the first line: a URI and a name behind it, or a header such as `uri,label_en`.

    In the lines of a corpus the URIs are last.
    """
    if format_of(path, ("tsv", "txt")):
        uri, tab, _ = _first_line(path).partition("\t")
        return bool(tab and URI.fullmatch(uri))
    if format_of(path, ("csv",)):
        return "uri" in re.split(r"\W+", _first_line(path))
    return format_of(path, tuple(_RDF.keys() - {"xml"})) is not None


def _first_line(path: Path) -> str:
    try:
        return next(text_lines(path), (1, ""))[1]
    except XMCError:
        return ""
