"""Runs an answer's code with its tests, inside the sandbox (reward/unit_tests.h): `python3 -c` with this text.

Reads {"nonce", "code", "tests": [text, ..], "split": bool}.  Writes lines that begin with the nonce: "of N" tests, then "+ K" for the
K-th if it holds (by its number, since code may fork and be two).  With "check" in the place of "code" the tests are only compiled: "bad I REASON" for the first that is not Python."""
import ast
import json
import os
import sys
import types


def compiled(text):
    return compile(text, "tests", "exec")


def statements(text):
    """A text of asserts, one by one: pairs (code, is it a test?)."""
    body = ast.parse(text).body
    if not any(isinstance(s, ast.Assert) for s in body):
        return [(compiled(text), True)]
    return [(compile(ast.Module([s], []), "tests", "exec"), isinstance(s, ast.Assert)) for s in body]


def main():
    job = json.load(sys.stdin)
    verdict, null = os.dup(1), os.open(os.devnull, os.O_RDWR)
    for fd in 0, 1, 2:
        os.dup2(null, fd)
    os.set_inheritable(verdict, False)
    nonce, write = job.pop("nonce"), os.write

    def say(words):
        write(verdict, f"{nonce} {words}\n".encode())

    if "check" in job:
        for i, text in enumerate(job["check"]):
            try:
                compiled(text)
            except (SyntaxError, ValueError) as why:
                say(f"bad {i} {why}")
                break
        say("of 0")
        return
    parts = []
    for text in job["tests"]:
        parts += statements(text) if job["split"] else [(compiled(text), True)]
    say(f"of {sum(counts for _, counts in parts)}")
    module = types.ModuleType("answer")
    sys.modules["answer"] = module
    try:
        exec(compile(job["code"], "answer", "exec"), module.__dict__)
        number = 0
        for code, counts in parts:
            number += counts
            try:
                exec(code, module.__dict__)
            except BaseException:
                continue
            if counts:
                say(f"+ {number}")
    finally:
        os._exit(0)


main()
