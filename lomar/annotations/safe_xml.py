"""Reading of XML files that may come from anywhere: line numbers, and no entities."""

from pathlib import Path
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

from lomar.annotations.source import SourceError


class Node(Element):
    """Element of a file that knows where it begins, as `file:line`."""

    where: str = ''


def read_xml(path: Path) -> Node:
    """Return the root of an XML file.

    Raises:
        SourceError: the file is malformed, or has a DOCTYPE, which alone can declare entities:
            names of other files to read, and texts that grow without limit.
    """
    parser = expat.ParserCreate()
    parser.buffer_text = True

    def where() -> str:
        return f'{path}:{parser.CurrentLineNumber}'

    def node(tag: str, attributes: dict[str, str]) -> Node:
        made = Node(tag, attributes)
        made.where = where()
        return made

    def refuse(*_) -> None:
        raise SourceError(where(), 'a DOCTYPE is refused; allowed: XML without one')

    builder = TreeBuilder(element_factory=node)
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, refuse
    try:
        parser.Parse(path.read_bytes(), True)
    except expat.ExpatError as error:
        what = expat.ErrorString(error.code)
        raise SourceError(f'{path}:{error.lineno}', 'is no XML: ', what) from None
    except (LookupError, ValueError) as error:  # of encodings, SourceError included
        if isinstance(error, SourceError):
            raise
        raise SourceError(f'{path}:1', 'is no XML: ', error) from None
    root = builder.close()
    assert isinstance(root, Node)  # made by `node`
    return root


def text_of(node: Element, path: str, needed: bool = True) -> str:
    """Return the text of an element below a node; '' if it is missing and not needed."""
    found = node.find(path)
    text = (found.text or '').strip() if found is not None else ''
    if needed and not text:
        raise SourceError(place(node), f'<{node.tag}> has no <{path}>')
    return text


def place(node: Element) -> str:
    """Return the file and line of an element that `read_xml` read."""
    return node.where if isinstance(node, Node) else ''
