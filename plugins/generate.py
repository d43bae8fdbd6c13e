"""Writes what editors install: `python -m plugins.generate`, or `--check` in `make lint`.

Each file below `templates/` becomes the file of the same place in the repository; those that end
in `.j2` are filled in from `facts`. JSON is read and laid out anew, so that a template with a
mistake fails here. The hook is a copy of the engine's own, which needs nothing of the package.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import jinja2

from plugins.facts import ROOT, Facts

TEMPLATES = Path(__file__).with_name("templates")
COPIES = {"plugins/claude-code/hooks/hook.py": "rune_engine/capture/hook.py"}
"""What is taken over as it is."""
GENERATED = (".claude-plugin", *(f"plugins/{n}" for n in ("claude-code", "mcpb", "editors")))
"""Folders in which nothing else may lie."""


def generate(facts: Facts) -> dict[str, bytes]:
    """Every generated file's content, by its path in the repository.

    Raises:
        jinja2.TemplateError: a template asks for something that is not there.
        LookupError: a template names a tool that the server does not have.
        ValueError: a template's result is no JSON.
        FileNotFoundError: what is to be copied is not there.
    """
    jinja = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        autoescape=False,
    )
    files = {target: (ROOT / source).read_bytes() for target, source in COPIES.items()}
    for path in sorted(TEMPLATES.rglob("*")):
        name = str(path.relative_to(TEMPLATES))
        if path.is_file() and path.suffix == ".j2":
            target = name.removesuffix(".j2")
            files[target] = _laid_out(target, jinja.get_template(name).render(rune=facts)).encode()
        elif path.is_file():
            files[name] = path.read_bytes()
    return files


def wrong(files: dict[str, bytes], root: Path = ROOT) -> list[str]:
    """Which files below `root` are not as generated, are missing, or belong to no template."""
    found = [name for name, content in files.items() if _content(root / name) != content]
    there = [path for folder in GENERATED for path in (root / folder).rglob("*") if path.is_file()]
    return found + [n for path in there if (n := str(path.relative_to(root))) not in files]


def write(files: dict[str, bytes], root: Path = ROOT) -> None:
    """Make the files below `root` as generated, and remove those that belong to no template."""
    for name in wrong(files, root):
        path = root / name
        if name in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files[name])
        else:
            path.unlink()


def _laid_out(name: str, text: str) -> str:
    if not name.endswith(".json"):
        return text
    return json.dumps(json.loads(text), indent=2, ensure_ascii=False) + "\n"


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def main(arguments: list[str] | None = None) -> int:
    """The command; exit code 1 if `--check` finds a file that is not as generated."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing, only compare")
    files = generate(Facts())
    if not parser.parse_args(arguments).check:
        write(files)
        return 0
    found = wrong(files)
    for name in found:
        print(f"{name} is not as generated: run `python -m plugins.generate`.", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
