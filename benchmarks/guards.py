"""How often the guards stop hypotheses of real speech: they are to cost at most 1 % of good windows.

    python -m benchmarks.guards

Every recording with speech, whole and cut off at two random places, as a partial hears it.
"""

import argparse
import random
from pathlib import Path

from rich.progress import track

from benchmarks.evalset import SAMPLE_RATE, Pcm, default_place, load, read_audio
from streamasr.core.events import Hypothesis, Window
from streamasr.core.utterance import believable
from streamasr.core.windows import encoder_samples
from streamasr.inference.ct2 import Ct2Engine
from streamasr.inference.models import resolve

SETS = ("seen", "unseen", "noisy", "lang_de", "lang_es")
SHORTEST_S = 0.5


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.guards", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--place", type=Path, default=default_place(), help="directory with manifest.jsonl")
    place = parser.parse_args().place
    entry = resolve("nano")
    engine, policy, rng = Ct2Engine(entry, threads=1), entry.policy(), random.Random(0)

    def window(pcm: Pcm, language: str) -> Window:
        length = encoder_samples(len(pcm), policy)
        return Window(
            lane="", number=0, kind="final", anchor=0, pcm=pcm.tobytes(), encoder_samples=length, language=language
        )

    stopped: dict[str, list[str]] = {name: [] for name in SETS}
    heard = dict.fromkeys(SETS, 0)
    for recording in track(load(place, SETS), "windows"):
        pcm = read_audio(place, recording)
        cuts = [rng.randint(round(SHORTEST_S * SAMPLE_RATE), len(pcm)) for _ in range(2)]
        for end in (len(pcm), *cuts):
            asked = window(pcm[:end], recording.lang)
            answer = engine.transcribe([asked])[0]
            heard[recording.set] += 1
            if isinstance(answer, Hypothesis) and not believable(answer, asked, policy):
                stopped[recording.set].append("".join(word.text for word in answer.words))
    for name in SETS:
        print(f"{name}: {len(stopped[name])} of {heard[name]} windows stopped")
        for text in stopped[name]:
            print(f"    {text.strip()[:100]}")


if __name__ == "__main__":
    main()
