"""What tells best whose a task is: words, the base model's own embeddings, or both; and FTS5.

    python -m benchmarks.routing_embeddings

The same worlds and questions as `benchmarks.routing`, one adapter a project. Compared are the words
as the router has them, the cosine of mean token embeddings (the base model's own table, read
without torch, each word's weighed by its rarity), both added with several weights, and SQLite's
FTS5 with its BM25. "right" is the nearest project's being the right one; "told" is how often it is
right and clearer than 97 % of the strangers' questions, by the margin to the second.

Needs numpy and tokenizers (`pip install "rune-mcp[torch]"`).
"""

from __future__ import annotations

import argparse
import json
import math
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

import base_models
from benchmarks.routing_worlds import KINDS, World, make_strangers, make_world, without_name
from rune_engine.word_counts import count_words, words_of

SEED = 5_000_000
WEIGHTS = (0.1, 0.3, 1.0)
Scores = Callable[[str], "np.ndarray"]


class Embeddings:
    """Words as the mean of their tokens' embeddings, less the mean of all."""

    def __init__(self, model: Path) -> None:
        self._tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        self._table = _embedding_table(model / "model.safetensors")
        self._table -= self._table.mean(0)
        self._known: dict[str, np.ndarray] = {}

    def of(self, word: str) -> np.ndarray:
        if word not in self._known:
            ids = self._tokenizer.encode(f" {word}", add_special_tokens=False).ids
            self._known[word] = self._table[ids].mean(0)
        return self._known[word]

    def mean(self, weights: dict[str, float]) -> np.ndarray:
        """Of several words, of length 1."""
        found = np.zeros(self._table.shape[1], np.float32)
        for word, weight in weights.items():
            found += weight * self.of(word)
        return found / (np.linalg.norm(found) + 1e-9)


def _embedding_table(path: Path) -> np.ndarray:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(size))["model.embed_tokens.weight"]
    if entry["dtype"] != "BF16":
        raise SystemExit(f"{path} is in {entry['dtype']}; this reads bfloat16.")
    raw = np.memmap(
        path, "<u2", "r", offset=8 + size + entry["data_offsets"][0], shape=tuple(entry["shape"])
    )
    return (np.asarray(raw).astype("<u4") << 16).view("<f4")


class Taught:
    """What projects were taught, as dense and sparse vectors."""

    def __init__(self, texts: Sequence[Sequence[str]], embeddings: Embeddings) -> None:
        self._embeddings = embeddings
        counts = [(len(of), count_words(of)) for of in texts]
        self._having = Counter(word for _, words in counts for word in words)
        self._projects = len(counts)
        shares = [{w: c / tasks for w, c in words.items()} for tasks, words in counts]
        self._columns: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self._fill_columns(shares)
        weighed = [{w: self._rarity(w) * s for w, s in of.items()} for of in shares]
        self._lengths = np.array([math.sqrt(sum(v * v for v in of.values())) for of in weighed])
        self._means = np.stack([embeddings.mean(of) for of in weighed])

    def words(self, text: str) -> np.ndarray:
        """The cosine of TF-IDF vectors, as the router has it."""
        score, length = np.zeros(self._projects), 0.0
        for word in words_of(text):
            rarity = self._rarity(word)
            length += rarity**2
            if word in self._columns:
                projects, shares = self._columns[word]
                score[projects] += rarity**2 * shares
        return score / (self._lengths * math.sqrt(length or 1.0))

    def embedded(self, text: str) -> np.ndarray:
        mean = self._embeddings.mean({word: self._rarity(word) for word in words_of(text)})
        return self._means @ mean

    def both(self, weight: float) -> Scores:
        return lambda text: self.words(text) + weight * self.embedded(text)

    def _rarity(self, word: str) -> float:
        return math.log1p(self._projects / max(self._having[word], 1))

    def _fill_columns(self, shares: Sequence[dict[str, float]]) -> None:
        of_word: dict[str, list[tuple[int, float]]] = {}
        for project, own in enumerate(shares):
            for word, share in own.items():
                of_word.setdefault(word, []).append((project, share))
        for word, found in of_word.items():
            projects, of = zip(*found, strict=True)
            self._columns[word] = np.array(projects), np.array(of)


def full_text(texts: Sequence[Sequence[str]]) -> Scores:
    """SQLite's FTS5 and its BM25, a project a document."""
    database = sqlite3.connect(":memory:")
    database.execute("CREATE VIRTUAL TABLE taught USING fts5(words)")
    database.executemany(
        "INSERT INTO taught (rowid, words) VALUES (?, ?)",
        ((number, " ".join(of)) for number, of in enumerate(texts, 1)),
    )

    def scores(text: str) -> np.ndarray:
        asked = " OR ".join(f'"{word}"' for word in words_of(text))
        found = np.zeros(len(texts))
        query = "SELECT rowid, bm25(taught) FROM taught WHERE taught MATCH ?"
        for row, score in database.execute(query, [asked]) if asked else ():
            found[row - 1] = -score
        return found

    return scores


def judge(scores: Scores, worlds: Sequence[World], strangers: Sequence[World], each: int) -> Any:
    """By form of the text and kind of question: right, told; and milliseconds of the processor."""
    result: dict[str, Any] = {}
    spent, asked = 0.0, 0
    for form, cut in (("text", str), ("without the name", without_name)):
        margins: dict[str, list[tuple[bool, float]]] = {}
        for number, world in [*enumerate(worlds), *((-1, other) for other in strangers)]:
            for kind, texts in world.asked.items():
                for text in texts[:each]:
                    started = time.process_time()
                    found = scores(cut(text))
                    spent, asked = spent + time.process_time() - started, asked + 1
                    best, second = np.argsort(found)[-1:-3:-1]
                    right = (int(best) == number, float(found[best] - found[second]))
                    margins.setdefault(kind if number >= 0 else "strangers", []).append(right)
        limit = float(np.quantile([margin for _, margin in margins["strangers"]], 0.97))
        for kind in KINDS:
            right = float(np.mean([right for right, _ in margins[kind]]))
            told = float(np.mean([right and margin > limit for right, margin in margins[kind]]))
            result[f"{form}, {kind}"] = {"right": right, "told": told}
    return result | {"cpu_ms": spent / asked * 1e3}


def main() -> None:
    parser = argparse.ArgumentParser(description="Words, embeddings, or both.")
    parser.add_argument("--projects", type=int, nargs="+", default=(30, 300, 10_000))
    parser.add_argument("--asked", type=int, default=200)
    parser.add_argument("--each", type=int, default=2)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    embeddings = Embeddings(base_models.describe("rune-nano").path)
    strangers = make_strangers(given.seed, given.asked)
    every: dict[str, Any] = {}
    for projects in given.projects:
        worlds = [make_world(given.seed + n, asked=n < given.asked) for n in range(projects)]
        texts, asked = [w.taught for w in worlds], [w for w in worlds if w.asked]
        taught = Taught(texts, embeddings)
        ways: dict[str, Scores] = {"words (the router)": taught.words, "FTS5": full_text(texts)}
        ways |= {"embeddings": taught.embedded}
        ways |= {f"words + {weight:g} embeddings": taught.both(weight) for weight in WEIGHTS}
        print(f"{projects:,} projects: right / told")
        for name, scores in ways.items():
            found = every[f"{projects} {name}"] = judge(scores, asked, strangers, given.each)
            parts = (f"{of['right']:.1%} / {of['told']:.1%}" for of in list(found.values())[:-1])
            print(f"  {name:<24} {'   '.join(parts)}   {found['cpu_ms']:.2f} ms", flush=True)
    if given.json:
        given.json.write_text(json.dumps(every, indent=2))


if __name__ == "__main__":
    main()
