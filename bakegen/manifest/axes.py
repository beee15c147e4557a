"""Read what a manifest says of its axes: `axes`, `properties`, `names`, `series` and `axis-groups`.

In: a `SectionReader`. Out: `Axis` declarations; mistakes go to its problems.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bakegen.errors import did_you_mean
from bakegen.expressions.scope import Expression, tree
from bakegen.manifest.model import Axis, AxisValue, NameRule
from bakegen.manifest.schema import TYPES, found, type_hint
from bakegen.manifest.section import SectionReader, entry
from bakegen.source.yaml import KeyPath

# How the types of declared properties are read, and what the schema calls them.
_PROPERTY_TYPES: Mapping[str, tuple[type, str]] = {
    "string": (str, "string"),
    "boolean": (bool, "boolean"),
    "integer": (int, "integer"),
    "list": (list, "array"),
    "mapping": (dict, "object"),
}


def _has_type(value: Any, kind: str) -> bool:
    return isinstance(value, _PROPERTY_TYPES[kind][0]) and not (kind == "integer" and isinstance(value, bool))


def read_axes(reader: SectionReader) -> tuple[Axis, ...]:
    """Return the axes in the order of the manifest."""
    declared = reader.content.get("properties", {})
    rules = reader.content.get("names", {})
    names = reader.content.get("axes", {})
    series = reader.content.get("series", {})
    grouped = reader.content.get("axis-groups", names)
    mentioned = [
        ((section, name), name)
        for section, keys in (("properties", declared), ("names", rules), ("series", series))
        for name in keys
    ]
    mentioned += [(("axis-groups", index), name) for index, name in enumerate(grouped)]
    for path, name in mentioned:
        if name not in names:
            reader.report("unknown-axis", f'there is no axis "{name}"', path, did_you_mean(name, names), at_key=True)
    return tuple(_axis(reader, name, declared.get(name), rules.get(name, ()), name in grouped) for name in names)


def _axis(
    reader: SectionReader, name: str, declared: Mapping[str, Any] | None, rules: Iterable[Any], has_groups: bool
) -> Axis:
    content = reader.content["axes"][name]
    for key, declaration in (declared or {}).items():
        path: KeyPath = ("properties", name, key)
        if ("type" in declaration) == ("axis" in declaration):
            hint = "use `axis` if the property names a value of that axis"
            reader.report(
                "missing-key", f'property "{key}" needs either a `type` or an `axis`', path, hint, at_key=True
            )
        elif declaration.get("axis", name) not in reader.content["axes"]:
            axes = reader.content["axes"]
            message, hint = f'there is no axis "{declaration["axis"]}"', did_you_mean(declaration["axis"], axes)
            reader.report("unknown-axis", message, (*path, "axis"), hint)
        elif "default" in declaration:
            _check_type(reader, f'the default of "{key}"', declaration["default"], declaration, (*path, "default"))
    values = [_value(reader, name, value, declared) for value in content]
    seen: dict[str, AxisValue] = {}
    for value in values:
        if value.name in seen:
            reader.report("duplicate-item", f'axis "{name}" has a duplicate value "{value.name}"', value.path)
        seen[value.name] = value
        if not value.name.isprintable() or set(" ,=*?!/") & set(value.name) or not value.name:
            reader.report(
                "wrong-value",
                f'"{value.name}" cannot be an axis value',
                value.path,
                "use a word without spaces, invisible characters, `,`, `=`, `*`, `?`, `!` or `/`",
                at_key=True,
            )
    series = reader.content.get("series", {}).get(name)
    return Axis(
        name,
        tuple(values),
        tuple(_name_rules(reader, name, rules, seen)),
        ("axes", name),
        None if series is None else Expression(str(series), ("series", name)),
        has_groups,
    )


def _name_rules(reader: SectionReader, axis: str, rules: Iterable[Any], known: Mapping[str, Any]) -> Iterator[NameRule]:
    for index, rule in enumerate(rules):
        path: KeyPath = ("names", axis, index)
        declared = rule if isinstance(rule, dict) else {"name": rule}
        wanted = declared.get("for", [])
        values = tuple(str(item) for item in (wanted if isinstance(wanted, list) else [wanted]))
        for number, value in enumerate(values):
            if value not in known:
                here = (*path, "for", number) if isinstance(wanted, list) else (*path, "for")
                message = f'axis "{axis}" has no value "{value}"'
                reader.report("unknown-value", message, here, did_you_mean(value, known))
        yield NameRule(entry(rule, path, "name"), values)


def _value(reader: SectionReader, axis: str, key: Any, declared: Mapping[str, Any] | None) -> AxisValue:
    content = reader.content["axes"][axis]
    if isinstance(content, list):
        path: KeyPath = ("axes", axis, content.index(key))
        given: dict[str, Any] = {}
    else:
        path = ("axes", axis, key)
        given = content[key] or {}
    properties = {
        name: tree(item, (*path, name)) for name, item in given.items() if name not in {"names", "platforms", "args"}
    }
    if declared is not None:
        _check_properties(reader, path, f'{axis} "{key}"', given, properties, declared)
        for name, declaration in declared.items():
            if "default" in declaration and name not in properties:
                properties[name] = tree(declaration["default"], ("properties", axis, name, "default"))
    names = given.get("names")
    return AxisValue(
        name=str(key),
        properties=properties,
        names=None if names is None else tuple(str(name) for name in names),
        platforms=reader.platforms((*path, "platforms")) if "platforms" in given else None,
        args=reader.expressions((*path, "args"), given.get("args", {})),
        path=path,
    )


def _check_properties(
    reader: SectionReader,
    path: KeyPath,
    owner: str,
    given: Mapping[str, Any],
    properties: Mapping[str, Any],
    declared: Mapping[str, Any],
) -> None:
    for name in properties:
        if name not in declared:
            reader.report(
                "unknown-key",
                f'{owner} has an undeclared property "{name}"',
                (*path, name),
                did_you_mean(name, declared),
                at_key=True,
            )
        else:
            _check_type(reader, f'property "{name}"', given[name], declared[name], (*path, name))
    for name, declaration in declared.items():
        if declaration.get("required") and name not in given:
            reader.report(
                "missing-key",
                f'{owner} has no property "{name}"',
                path,
                declaration.get("description", "add it, or declare a default"),
                at_key=True,
            )


def _check_type(reader: SectionReader, owner: str, value: Any, declaration: Mapping[str, Any], path: KeyPath) -> None:
    """Report a property whose value is not of the declared type, or not a value of the declared axis."""
    if "type" in declaration:
        kind = declaration["type"]
        if not _has_type(value, kind):
            word = _PROPERTY_TYPES[kind][1]
            message = f"{owner} must be {TYPES[word]}, not {found(value)}"
            reader.report("wrong-type", message, path, type_hint([word], value))
        return
    known = [str(name) for name in reader.content["axes"].get(declaration.get("axis"), ())]
    if known and str(value) not in known and not (isinstance(value, str) and "{{" in value):
        message = f'axis "{declaration["axis"]}" has no value "{value}"'
        reader.report("unknown-value", message, path, did_you_mean(str(value), known))
