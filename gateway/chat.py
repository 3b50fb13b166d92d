"""Consultations on the terminal, over the public API: you as the patient, you as the doctor, or both by the models.

The dialogue lives here, in the client: every call carries all of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from rich.console import Console

from anamnesis.common.v1 import dialogue_pb2, patient_pb2, rollout_pb2
from anamnesis.simulator.v1 import simulator_pb2
from gateway.client import AnamnesisClient

_DOCTOR, _PATIENT = "[bold cyan]doctor[/]   ", "[bold magenta]patient[/]  "
_PROMPT = {"doctor": "doctor>  ", "patient": "you>     "}

ReadLine = Callable[[str], str]


@dataclass
class Conversation:
    client: AnamnesisClient
    console: Console
    read_line: ReadLine = input
    sampling: rollout_pb2.Sampling | None = None
    seed: int = 0
    max_doctor_turns: int = 8
    messages: list[dialogue_pb2.Message] = field(default_factory=list)

    async def with_you_as_patient(self) -> None:
        """Until an empty line, Ctrl-D or Ctrl-C."""
        self.console.print("[dim]You are the patient. Say what brings you here; an empty line ends it.[/dim]")
        while text := await self._read("patient"):
            self._say(dialogue_pb2.ROLE_USER, text)
            await self._doctor_speaks()

    async def watch_case(self, case_id: str) -> None:
        """The simulated patient and the doctor model, until the patient's Termination Gate ends it."""
        persona = await self._patient_opens(case_id)
        for _ in range(self.max_doctor_turns):
            await self._doctor_speaks()
            if await self._patient_answers(case_id, persona):
                return

    async def with_you_as_doctor(self, case_id: str) -> None:
        self.console.print("[dim]You are the doctor. An empty line ends it.[/dim]")
        persona = await self._patient_opens(case_id)
        while text := await self._read("doctor"):
            self._say(dialogue_pb2.ROLE_ASSISTANT, text)
            if await self._patient_answers(case_id, persona):
                return

    async def _patient_opens(self, case_id: str) -> patient_pb2.Persona:
        started = await self.client.start_consultation(case_id, seed=self.seed)
        self.console.print(f"[dim]case {started.case_id}; the patient: {persona_words(started.persona)}[/dim]")
        self._patient_says(started.opening)
        return started.persona

    async def _patient_answers(self, case_id: str, persona: patient_pb2.Persona) -> bool:
        """Whether the consultation has ended."""
        response = await self.client.respond(
            case_id, persona, self.messages, seed=self.seed, max_doctor_turns=self.max_doctor_turns
        )
        if response.reply:
            self._patient_says(response.reply)
        if response.ending == simulator_pb2.ENDING_UNSPECIFIED:
            return False
        ending = simulator_pb2.Ending.Name(response.ending).removeprefix("ENDING_").replace("_", " ").lower()
        self.console.print(f"[dim]The consultation has ended: {ending}.[/dim]")
        return True

    def _patient_says(self, text: str) -> None:
        self._say(dialogue_pb2.ROLE_USER, text)
        self.console.print(_PATIENT, end="")
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    async def _doctor_speaks(self) -> None:
        """The answer is shown as it is written, and is part of the dialogue once it is whole."""
        self.console.print(_DOCTOR, end="")
        seed = self.seed + len(self.messages)
        answer = ""
        async with aclosing(self.client.ask_doctor(self.messages, sampling=self.sampling, seed=seed)) as pieces:
            async for piece in pieces:
                answer += piece
                self.console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
        self.console.print()
        self._say(dialogue_pb2.ROLE_ASSISTANT, answer.strip() or "…")

    def _say(self, role: dialogue_pb2.Role.ValueType, text: str) -> None:
        self.messages.append(dialogue_pb2.Message(role=role, content=text))

    async def _read(self, speaker: str) -> str:
        try:
            return (await asyncio.to_thread(self.read_line, _PROMPT[speaker])).strip()
        except EOFError:
            return ""


def persona_words(persona: patient_pb2.Persona) -> str:
    """The persona in a line; what is not set is left out."""
    words = [
        patient_pb2.Personality.Name(persona.personality).removeprefix("PERSONALITY_"),
        patient_pb2.EmotionalState.Name(persona.emotional_state).removeprefix("EMOTIONAL_STATE_").lower(),
        persona.occupation,
        persona.region,
    ]
    return ", ".join(word for word in words if word and word.lower() != "unspecified") or "no persona"
