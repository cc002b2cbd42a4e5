"""YAML as a person writes it: a key that stands twice is a mistake, of which YAML itself keeps the last silently."""

from __future__ import annotations

from typing import Any

import yaml


class _Loader(yaml.SafeLoader):
    """Plain values only, and no key twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if key.tag != "tag:yaml.org,2002:merge" and name in seen:
                raise yaml.MarkedYAMLError(problem=f"the key '{name}' stands twice", problem_mark=key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def document(text: str) -> Any:
    """What a text holds; raises yaml.YAMLError, with its line, for what is no YAML and for a key that stands twice."""
    return yaml.load(text, _Loader)
