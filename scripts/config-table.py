"""Print the table of all settings for docs/configuration.md."""

from pydantic import BaseModel

from celljury.config import Config


def rows(model: type[BaseModel], prefix: str = "") -> list[str]:
    """Return a row per key, sections with their keys."""
    found = []
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found += rows(field.annotation, f"{prefix}{name}.")
            continue
        default = field.get_default(call_default_factory=True)
        shown = {None: "none", (): "[]"}.get(default if not isinstance(default, dict) else None, default)
        shown = "{}" if default == {} else f'"{shown}"' if isinstance(default, str) else shown
        found.append(f"| `{prefix}{name}` | `{shown}` | {field.description} |")
    return found


print("\n".join(["| key | default | meaning |", "|---|---|---|", *rows(Config)]))
