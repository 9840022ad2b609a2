"""What measurements are made with."""

import pytest
from measuring import POLICY, TimedTones

from streamasr.bench.measure import Setup
from streamasr.bench.meter import Meter
from streamasr.core.options import SessionOptions
from streamasr.core.policy import Policy
from streamasr.inference.catalog import NANO_GUARDS
from streamasr.inference.fake import ToneVad


@pytest.fixture
def phases():
    """The phases that were begun."""
    return []


@pytest.fixture
def setup(phases):
    """Makes what is measured with."""

    def make(engine: TimedTones, policy: Policy = POLICY) -> Setup:
        def phase(name, total):
            phases.append((name, total, []))
            return phases[-1][2].append

        return Setup(
            meter=Meter(engine, policy, engine.clock, engine.stages),
            vad=ToneVad(),
            policy=policy,
            guards=NANO_GUARDS,
            options=SessionOptions(),
            clock=engine.clock,
            phase=phase,
        )

    return make
