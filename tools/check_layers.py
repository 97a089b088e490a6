#!/usr/bin/env python3
"""Checks every #include of the tree against layers.txt; prints one line a breach."""
import fnmatch
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
SEARCH = ("include", "src", "")


def read_rules(path):
    rooms, faces, only = {}, {}, []
    for number, line in enumerate(open(path, encoding="utf-8"), 1):
        line = line.split("#", 1)[0].strip()
        if not line:
            continue
        head, colon, tail = line.partition(":")
        word, *rest = head.split()
        if not colon or word not in ("room", "face", "only"):
            sys.exit(f"check_layers: {path}:{number}: not a rule: {line}")
        if word == "room":
            rooms[rest[0]] = (rest[2], tail.split())
        elif word == "face":
            faces[rest[0]] = tail.split()
        else:
            only.append((rest, tail.split()))
    for name, (_, seen) in rooms.items():
        for other in set(seen) - set(rooms):
            sys.exit(f"check_layers: {path}: room {name} names {other}, which is no room")
    return rooms, faces, only


def room_of(rooms, path):
    best = None
    for name, (folder, _) in rooms.items():
        if path.startswith(folder + "/") and (best is None or len(folder) > len(rooms[best][0])):
            best = name
    return best


def main():
    root = os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else ".")
    rooms, faces, only = read_rules(os.path.join(root, "layers.txt"))
    breaches, n_files = [], 0
    for folder in sorted({f.split("/")[0] for f, _ in rooms.values()}):
        for at, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                if not name.endswith((".c", ".h", ".cu", ".cuh", ".def")):
                    continue
                path = os.path.relpath(os.path.join(at, name), root)
                room = room_of(rooms, path)
                n_files += 1
                if room is None:
                    breaches.append(f"{path}: belongs to no room of layers.txt")
                    continue
                text = open(os.path.join(root, path), encoding="utf-8").read()
                breaches += check_file(root, rooms, faces, only, path, room, text)
    for breach in breaches:
        print(breach)
    print(f"{n_files} files, {len(breaches)} breaches of layers.txt")
    return 1 if breaches or n_files == 0 else 0


def check_file(root, rooms, faces, only, path, room, text):
    for kind, header in INCLUDE.findall(text):
        if kind == "<":
            for patterns, allowed in only:
                if any(fnmatch.fnmatch(header, p) for p in patterns) and room not in allowed:
                    yield f"{path}: <{header}> is for {', '.join(allowed)} only"
            continue
        places = [os.path.join(os.path.dirname(path), header)] + [os.path.join(s, header) for s in SEARCH]
        found = next((p for p in places if os.path.exists(os.path.join(root, p))), None)
        if found is None:
            yield f'{path}: "{header}" is no file of the tree'
            continue
        found = os.path.normpath(found)
        other = room_of(rooms, found)
        if other == room or room == "tests":
            continue
        if other not in rooms[room][1]:
            yield f'{path}: room {room} may not include "{header}" of room {other}'
        elif other in faces and header not in faces[other]:
            yield f'{path}: "{header}" is private to room {other}; its face is {" ".join(faces[other])}'


if __name__ == "__main__":
    sys.exit(main())
