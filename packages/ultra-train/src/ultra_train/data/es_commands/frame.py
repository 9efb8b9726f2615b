"""The semantic frame of a command: its intent, the devices that it is about, and the values of its slots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_GENERAL = "homeassistant"
"""The domain that the package gives to everything that concerns no kind of device."""
_BY_RESPONSE = ("HassGetState", "HassRespond")
"""Intents that stand for several questions; what is answered tells them apart."""
_OPPOSITES = {
    "HassTurnOn": "HassTurnOff",
    "HassIncreaseTimer": "HassDecreaseTimer",
    "HassPauseTimer": "HassUnpauseTimer",
    "HassMediaPause": "HassMediaUnpause",
    "HassMediaNext": "HassMediaPrevious",
    "HassMediaPlayerMute": "HassMediaPlayerUnmute",
    "HassListAddItem": "HassListRemoveItem",
    "HassShoppingListAddItem": "HassShoppingListCompleteItem",
    "HassVacuumStart": "HassVacuumReturnToBase",
}
_OPPOSITE = _OPPOSITES | {other: intent for intent, other in _OPPOSITES.items()}


class Frame(NamedTuple):
    """What a command asks for; paraphrases have equal frames.

    Attributes:
        intent: what is to be done, with the kind of device where the package has one intent for several.
        domain: the kind of device, or the group of intents; "" for what is alone of its kind.
        slots: (name, value) of everything that fills a slot, by name; that of ``slots`` says which are
            filled, and tells "here" from "in the whole house".
    """

    intent: str = ""
    domain: str = ""
    slots: tuple[tuple[str, str], ...] = ()

    def similarity(self, other: Frame) -> float:
        """Return 1.0 for an equal frame, 0.6 for equal intents, 0.3 for equal domains, else 0.0."""
        if self.intent == other.intent:
            return 1.0 if self.slots == other.slots else 0.6
        return 0.3 if self.domain and self.domain == other.domain else 0.0

    @property
    def name(self) -> str:
        """The frame as a line of text."""
        return " ".join([self.intent, *(f"{slot}={value}" for slot, value in self.slots)])

    @property
    def opposite(self) -> Frame | None:
        """The frame of the command that undoes this one, if there is such an intent."""
        name, _, rest = self.intent.partition("/")
        return self._replace(intent=f"{_OPPOSITE[name]}/{rest}") if name in _OPPOSITE else None


def frame_of(
    intent: str,
    block: Mapping[str, Any],
    drawn: Iterable[tuple[str, str]],
    domain: str,
    devices: Mapping[str, Sequence[str]],
) -> Frame:
    """Return the frame of a sentence.

    Args:
        intent: name of its intent in the package.
        block: the block of templates that it comes from.
        drawn: (slot, value) of what was drawn for it.
        domain: the domain of the intent.
        devices: the names of devices, by domain.
    """
    slots = dict(drawn)
    fixed = dict(block.get("slots", {}))
    context = block.get("requires_context", {}).get("domain", [])
    possible = [context] if isinstance(context, str) else list(context)
    named = [kind for kind in possible if slots.get("name") in devices.get(kind, ())]
    kind = str(fixed.pop("domain", "")) or next(iter(named), "") or (domain if domain != _GENERAL else "")
    if "Timer" in intent:
        kind = "timer"
    response = block.get("response", "") if intent in _BY_RESPONSE else ""
    filled = block.get("metadata", {}).get("slot_combination", "")
    values = {**slots, **{name: str(value) for name, value in fixed.items()}, "slots": str(filled)}
    return Frame("/".join((intent, kind, str(response))), kind, tuple(sorted(values.items())))
