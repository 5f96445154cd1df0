"""Which states a power cut may leave: a model of a disk that keeps no more than POSIX demands.

- *Data* of a file is kept as it was at the file's last fsync. Of what was written (or cut off, or changed in its mode)
  since, each operation may be there or lost, whatever was done before or after it; a write may also be torn at any
  byte, and what is missing of it may be zeros, or a shorter file. All subsets of all tears are too many: tried are
  nothing, all, every beginning, each operation alone and each one missing, and for each write some tears of it, with
  and without zeros.
- *Names* in a directory are kept as they were at that directory's last fsync; syncing a file, or another directory,
  keeps no name. Each creation, removal and renaming since may be there or lost, in any order: all combinations are
  tried. A renaming is one step; the name may come without the data that it means.
- All files and directories are independent of each other: all combinations of names are tried together; of data, one
  file in all its variants while the others have all, or nothing, of what is pending.
- A sync covers what had ended before it began.

Kinder than this is every file system that keeps its promises; what ext4, xfs and btrfs promise beyond it (a rename
after its data, names in their order) is not made use of.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from tests.torture.disk_state import FileState, Tree
from tests.torture.trace import MakeDirectory, Open, Operation, Remove, Rename, SetMode, Status, Sync, Truncate, Write

SECTOR: Final = 512
_MAX_REORDERED: Final = 5  # pending names of one directory; of more only all subsets are tried, in their order
_MAX_PENDING: Final = 12


_Change = Write | Truncate | SetMode
_Table = dict[str, "_File | _Directory"]


class _File:
    """What was made durable of a file, and what was done to it since."""

    def __init__(self, durable: FileState) -> None:
        self.durable = durable
        self.pending: list[tuple[int, _Change]] = []

    def sync(self, began: int) -> None:
        self.durable = _apply(self.durable, [change for line, change in self.pending if line < began])
        self.pending = [(line, change) for line, change in self.pending if line >= began]

    def whole(self) -> FileState:
        """Return it as it is now."""
        return _apply(self.durable, [change for _, change in self.pending])

    def variants(self) -> list[FileState]:
        """Return what may be left of it: first what is durable, then all that was done, then the rest."""
        changes = [change for _, change in self.pending]
        found = dict.fromkeys([self.durable, self.whole()])
        for index, change in enumerate(changes):
            before = changes[:index]
            found[_apply(self.durable, [*before, change])] = None
            found[_apply(self.durable, [change])] = None
            found[_apply(self.durable, before + changes[index + 1 :])] = None
            if isinstance(change, Write):
                for torn in _torn(change):
                    found[_apply(self.durable, [*before, torn])] = None
        return list(found)


class _Directory:
    """The names that were made durable in a directory, and what was done to them since."""

    def __init__(self) -> None:
        self.durable: _Table = {}
        self.pending: list[tuple[int, Mapping[str, _File | _Directory | None]]] = []
        self.now: _Table = {}

    def change(self, line: int, names: Mapping[str, _File | _Directory | None]) -> None:
        self.pending.append((line, names))
        _rename(self.now, names)

    def sync(self, began: int) -> None:
        for line, names in self.pending:
            if line < began:
                _rename(self.durable, names)
        self.pending = [(line, names) for line, names in self.pending if line >= began]

    def whole(self, prefix: str) -> dict[str, FileState | None]:
        """Return the paths in it and below, as they are now."""
        found: dict[str, FileState | None] = {}
        for name, node in self.now.items():
            if isinstance(node, _File):
                found[prefix + name] = node.whole()
            else:
                found |= {prefix + name: None, **node.whole(f"{prefix}{name}/")}
        return found

    def tables(self) -> list[_Table]:
        """Return which names a crash may leave."""
        count = len(self.pending)
        assert count <= _MAX_PENDING, f"{count} names are pending in one directory: split the scenario"
        if count <= _MAX_REORDERED:
            orders = (order for size in range(count + 1) for order in itertools.permutations(range(count), size))
        else:
            orders = (order for size in range(count + 1) for order in itertools.combinations(range(count), size))
        found: dict[frozenset[tuple[str, int]], _Table] = {}
        for order in orders:
            table = dict(self.durable)
            for index in order:
                _rename(table, self.pending[index][1])
            found[frozenset((name, id(node)) for name, node in table.items())] = table
        return list(found.values())

    def shapes(self) -> list[dict[str, _File | None]]:
        """Return the paths that a crash may leave in it and below; None: a directory."""
        found = []
        for table in self.tables():
            below: list[list[dict[str, _File | None]]] = [
                [{name: node}] if isinstance(node, _File) else _under(name, node) for name, node in table.items()
            ]
            for shapes in itertools.product(*below):
                found.append({path: file for shape in shapes for path, file in shape.items()})
        return found


def _under(name: str, directory: _Directory) -> list[dict[str, _File | None]]:
    return [{name: None, **{f"{name}/{path}": file for path, file in shape.items()}} for shape in directory.shapes()]


class Disk:
    """A directory on a disk that may lose its power: takes operations, and tells what would be left."""

    def __init__(self, start: Tree = frozenset()) -> None:
        """Begin with what is there, all of it durable."""
        self._top = _Directory()
        self._handles: dict[int, _File | _Directory] = {}
        for path, state in sorted(start, key=lambda entry: entry[0]):
            parent, name = self._parent(path)
            parent.now[name] = parent.durable[name] = _Directory() if state is None else _File(state)

    def apply(self, line: int, operation: Operation) -> None:
        """Take an operation that ended with that line of the trace."""
        match operation:
            case Open():
                self._open(line, operation)
            case Write(handle) | Truncate(handle) | SetMode("", handle):
                self._file(handle).pending.append((line, operation))
            case SetMode(path):
                node = self._at(path)
                if isinstance(node, _File):
                    node.pending.append((line, operation))
            case Sync(handle, began):
                self._handles[handle].sync(began)
            case MakeDirectory(path):
                parent, name = self._parent(path)
                parent.change(line, {name: _Directory()})
            case Remove(path):
                parent, name = self._parent(path)
                parent.change(line, {name: None})
            case Rename(source, target):
                parent, name = self._parent(source)
                to, new = self._parent(target)
                assert to is parent, f"not in the model: {source} goes into another directory as {target}"
                parent.change(line, {name: None, new: parent.now[name]})
            case Status(path, handle, number, changed_ns):
                node = self._handles[handle] if handle >= 0 else self._at(path)
                if isinstance(node, _File):
                    node.durable = node.durable._replace(number=number, changed_ns=changed_ns)

    def now(self) -> Tree:
        """Return what there is as long as the power stays."""
        return frozenset(self._top.whole("").items())

    def states(self) -> Iterator[Tree]:
        """Yield what a power cut at this moment may leave; some of it more than once."""
        variants: dict[_File, list[FileState]] = {}
        for shape in self._top.shapes():
            for file in shape.values():
                if file is not None and file not in variants:
                    variants[file] = file.variants()
            for whole in (0, 1):
                base = {path: None if file is None else (variants[file][:2] * 2)[whole] for path, file in shape.items()}
                yield frozenset(base.items())
                for path, file in shape.items():
                    for state in [] if file is None else variants[file][2:]:
                        yield frozenset({**base, path: state}.items())

    def _open(self, line: int, opened: Open) -> None:
        if not opened.path:
            self._handles[opened.handle] = self._top
            return
        parent, name = self._parent(opened.path)
        node = parent.now.get(name)
        if node is None:
            assert opened.creates, f"{opened.path} was opened, and the model does not know it"
            node = _File(FileState(b"", opened.mode))
            parent.change(line, {name: node})
        elif opened.truncates and isinstance(node, _File):
            node.pending.append((line, Truncate(opened.handle, 0)))
        self._handles[opened.handle] = node

    def _file(self, handle: int) -> _File:
        node = self._handles[handle]
        assert isinstance(node, _File)
        return node

    def _parent(self, path: str) -> tuple[_Directory, str]:
        *above, name = path.split("/")
        node: _File | _Directory = self._top
        for step in above:
            assert isinstance(node, _Directory)
            node = node.now[step]
        assert isinstance(node, _Directory)
        return node, name

    def _at(self, path: str) -> _File | _Directory:
        if not path:
            return self._top
        parent, name = self._parent(path)
        return parent.now[name]


def _rename(table: _Table, names: Mapping[str, _File | _Directory | None]) -> None:
    for name, node in names.items():
        if node is None:
            table.pop(name, None)
        else:
            table[name] = node


def _apply(state: FileState, changes: Iterable[_Change]) -> FileState:
    data, mode, number, changed_ns = state
    for change in changes:
        match change:
            case Write(_, offset, new):
                data = data.ljust(offset, b"\0")[:offset] + new + data[offset + len(new) :]
            case Truncate(_, size):
                data = data[:size].ljust(size, b"\0")
            case SetMode(mode=new_mode):
                mode = new_mode
    return FileState(data, mode, number, changed_ns)


def _torn(write: Write) -> Iterator[Write]:
    """Yield some of what may be left of a write: beginnings of it, the rest missing or zero."""
    size = len(write.data)
    for kept in sorted({0, 1, size // 2, size - 1, *range(SECTOR, size, SECTOR)}):
        if kept:
            yield Write(write.handle, write.offset, write.data[:kept])
        yield Write(write.handle, write.offset, write.data[:kept].ljust(size, b"\0"))
