"""Results as a load test might have found them, from a seed."""

import math

import numpy as np

from loadtest.results import (
    Comparison,
    Conditions,
    Distribution,
    Figures,
    Lags,
    Moment,
    Quality,
    Results,
    ServerSide,
    Step,
    ToolHealth,
    Troubles,
    distribution,
)

COMMAND = "python -m loadtest --streams 24 --json out.json"


def spread(middle: float, *, count: int = 400, seed: int = 0) -> Distribution:
    """Times around ``middle`` with a tail."""
    return distribution(middle * np.random.default_rng(seed).lognormal(0.0, 0.4, count))


def run(streams: int = 24, lag: float = 0.3, **changed) -> Figures:
    """One run; ``changed`` fields replace those of its parts that have them."""

    def part(kind, **fields):
        return kind(**{**fields, **{k: v for k, v in changed.items() if k in kind.__struct_fields__}})

    series = [
        Moment(
            at=float(t),
            streams=streams,
            headroom=0.4 + 0.1 * math.sin(t),
            queue_age_p95=lag / 10,
            cpu=1.2,
            rss_bytes=int(3e8 + 1e5 * t),
        )
        for t in range(30)
    ]
    return Figures(
        conditions=part(
            Conditions,
            command=COMMAND,
            began="2026-11-21T12:00:00",
            server="--model nano",
            model="nano",
            streams=streams,
            seconds=60.0,
            vad_stop_ms=200,
            idle=50,
            audio="seen, long",
            machine="a processor, 2 cores",
            versions="streamasr 0.1, Python 3.11",
        ),
        lags=Lags(shown=spread(lag), stable=spread(2 * lag), final=spread(0.25), preflight=spread(0.2, count=90)),
        quality=part(
            Quality,
            words=4000,
            wer=25.3,
            reference_wer=25.1,
            sub=700,
            ins=150,
            dels=162,
            lost=1,
            doubled=2,
            reference_lost=2,
            reference_doubled=3,
            stable_violations=0,
            erased_per_word=0.12,
            utterances=480,
            finals_missing=0,
        ),
        troubles=part(Troubles),
        spoken_s=streams * 60.0,
        tool=part(ToolHealth, late=spread(0.001), loop_lag=spread(0.001), cpu_share=0.31, cpu_s=19.0),
        server=ServerSide(
            seconds=62.0,
            cpu_s=80.0,
            rss_bytes=310_000_000,
            stages_s={
                "features": 3.1,
                "encode": 20.4,
                "decode": 12.2,
                "align": 4.9,
                "assembly": 1.2,
                "gate": 4.3,
            },
            batches=1500,
            windows_in_batches=3600,
            batch_sizes={"1": 500, "2": 400, "3": 300, "4": 200, "6": 100},
            padded_share=0.11,
            windows={"partial": 3000, "final": 600, "superseded": 20},
            queue_age_p50=0.01,
            queue_age_p95=0.05,
            queue_age_p99=0.09,
            headroom_min=0.32,
        ),
        series=tuple(series),
        within=changed.get("within"),
    )


def single(**changed) -> Results:
    """Of a plain run."""
    return Results(kind="run", command=COMMAND, runs=(run(**changed),))


def limit() -> Results:
    """Of a search that found 32."""
    tried = [(8, 0.2, True), (16, 0.24, True), (32, 0.5, True), (48, 6.0, False)]
    runs = tuple(run(n, lag, within=within) for n, lag, within in tried)
    command = "python -m loadtest --find-limit --json limit.json"
    return Results(kind="limit", command=command, runs=runs, limit=32, limit_shown_p95_s=1.5)


def ramp() -> Results:
    """Of a ramp over three numbers of streams."""
    steps = [Step(streams=n, shown=spread(n / 40), stable=spread(n / 20), final=spread(0.3)) for n in (4, 8, 12)]
    found = run(12)
    whole = Figures(**{**{f: getattr(found, f) for f in found.__struct_fields__}, "steps": tuple(steps)})
    return Results(kind="ramp", command="python -m loadtest --ramp", runs=(whole,))


def comparison() -> Results:
    """Of two servers in two rounds."""
    medians = {"streams within the limit": (32.0, 2.0), "word shown p95 (s)": (0.5, None)}
    found = Comparison(
        a="",
        b="--encoder-window 30",
        rounds=2,
        medians=medians,
        ratios={"streams within the limit": 16.0, "word shown p95 (s)": None},
    )
    return Results(
        kind="compare",
        command="python -m loadtest --compare",
        runs=(run(2, server=""), run(2, server=found.b)),
        comparison=found,
    )
