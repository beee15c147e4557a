"""A folder held open, and what lies below it: reached from handle to handle, never through a symbolic link.

A path that was checked a moment ago leads elsewhere if one of its folders is swapped for a link meanwhile. A handle
does not: every folder is opened from the one above it with O_NOFOLLOW, and files are opened, made, renamed and removed
relative to such handles (openat(2), renameat(2)).
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK  # opening a pipe must not wait for its other end
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Seen:
    """What a path leads to: itself, or the first thing on the way that is not a folder. `mode` is 0 if it is missing."""

    path: str
    at: str
    mode: int

    @property
    def is_missing(self) -> bool:
        """Whether nothing is there."""
        return not self.mode

    @property
    def is_file(self) -> bool:
        """Whether the path itself is a regular file."""
        return stat.S_ISREG(self.mode) and self.at == self.path

    @property
    def is_folder(self) -> bool:
        """Whether the path itself is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Whether the way ends at a symbolic link."""
        return stat.S_ISLNK(self.mode)


class OpenFolder:
    """An open folder; paths are relative to it, with `/` between their parts. Errors of the system are raised as they are.

    The folders on the way to the path that was used last stay open: who goes through paths in order opens each once.
    """

    def __init__(self, handle: int) -> None:
        self._way: list[tuple[str, int]] = [("", handle)]

    @classmethod
    def at(cls, path: Path) -> Self:
        """Open the folder at `path`, which may be a link itself."""
        return cls(os.open(path, os.O_RDONLY | os.O_DIRECTORY))

    def hold(self, path: str) -> OpenFolder:
        """Open a folder below this one for itself; it is made if it is missing."""
        return OpenFolder(os.dup(self.enter(path, make=True)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._go_back(0)

    def enter(self, path: str, *, make: bool = False) -> int:
        """Return the handle of a folder, good until the next call; folders that are missing are made if `make` says so."""
        names = path.split("/") if path else []
        shared = 0
        for name, (known, _) in zip(names, self._way[1:], strict=False):
            if name != known:
                break
            shared += 1
        self._go_back(shared + 1)
        for name in names[shared:]:
            above = self._way[-1][1]
            if make:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=above)
            self._way.append((name, os.open(name, _FOLDER, dir_fd=above)))
        return self._way[-1][1]

    def _go_back(self, depth: int) -> None:
        while len(self._way) > depth:
            os.close(self._way.pop()[1])

    def look(self, path: str) -> Seen:
        """Return what `path` leads to."""
        names = path.split("/")
        refusal = None
        try:
            self.enter("/".join(names[:-1]))
        except OSError as error:
            refusal = error
        names = names[: len(self._way)]  # as far as the way is open, and one more
        try:
            mode = os.stat(names[-1], dir_fd=self._way[-1][1], follow_symlinks=False).st_mode
        except FileNotFoundError:
            mode = 0
        if refusal and stat.S_ISDIR(mode):  # it is a folder, but nobody may enter
            raise refusal
        return Seen(path, "/".join(names), mode)

    def read(self, path: str, most: int) -> tuple[bytes, bool]:
        """Return the content of a regular file and whether its owner may execute it.

        Raises `NotAFileError` if it is a pipe or a device, and `FileTooLargeError`, before reading, if it has more than
        `most` bytes.
        """
        folder, _, name = path.rpartition("/")
        handle = os.open(name, _FILE, dir_fd=self.enter(folder))
        try:
            found = os.fstat(handle)
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(found.st_mode):
                raise NotAFileError
            if found.st_size > most:
                raise FileTooLargeError(most)
            content = os.read(handle, found.st_size + 1)
            while part := os.read(handle, _CHUNK):  # it has grown, or a signal came between
                content += part
                if len(content) > most:
                    raise FileTooLargeError(most)
            return content, bool(found.st_mode & stat.S_IXUSR)
        finally:
            os.close(handle)

    def names(self, path: str) -> dict[str, bool]:
        """Return the names in a folder, in order, and for each whether it is a folder itself."""
        with os.scandir(self.enter(path)) as entries:
            return dict(sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries))

    def below(self, path: str) -> Iterator[tuple[str, bool]]:
        """Yield everything below a folder in order of names: its path, and whether it is a folder."""
        for name, is_folder in self.names(path).items():
            here = f"{path}/{name}" if path else name
            yield here, is_folder
            if is_folder:
                yield from self.below(here)

    def create(self, path: str, content: bytes, mode: int = 0o666, must: int = 0) -> None:
        """Write a file that is not there yet, in a folder that is, or leave nothing behind.

        Of `mode` it gets what the umask leaves, of `must` all.
        """
        folder, _, name = path.rpartition("/")
        handle = os.open(name, _NEW, mode, dir_fd=self.enter(folder))
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                if must:
                    os.fchmod(handle, os.fstat(handle).st_mode | must)
        except BaseException:
            self.remove(path)
            raise

    def take(self, name: str, source: OpenFolder, path: str) -> None:
        """Move the file `name`, which lies right in `source`, to `path`, over a file that may be there."""
        folder, _, last = path.rpartition("/")
        os.replace(name, last, src_dir_fd=source.enter(""), dst_dir_fd=self.enter(folder, make=True))

    def remove(self, path: str) -> None:
        """Remove a file or a link, if it is there."""
        folder, _, name = path.rpartition("/")
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.enter(folder))

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder."""
        folder, _, name = path.rpartition("/")
        os.rmdir(name, dir_fd=self.enter(folder))

    def remove_tree(self, path: str) -> None:
        """Remove a folder with all that is in it, if it is there."""
        folder, _, name = path.rpartition("/")
        with suppress(FileNotFoundError):
            shutil.rmtree(name, dir_fd=self.enter(folder))


class NotAFileError(OSError):
    """What should be a regular file is a pipe or a device."""


class FileTooLargeError(OSError):
    """A file has more than `most` bytes."""

    def __init__(self, most: int) -> None:
        super().__init__(errno.EFBIG, os.strerror(errno.EFBIG))
        self.most = most
