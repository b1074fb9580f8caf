"""The benchmark of the figures: what is above its limit is named."""

from benchmarks.bench_figures import missed, row


def test_a_row_above_its_limit_is_named_and_no_other():
    rows = [
        row("slow", p95=53.1, empty=12.0, most=33),
        row("quick", p95=32.9, empty=12.0, most=33),
        row("heavy", size=1_000_001, largest=1_000_000),
        row("light", size=1_000_000, largest=1_000_000),
        row("unlimited", size=10**9),
    ]
    assert missed(rows) == [
        "slow: 53.1, limit ms 33",
        "heavy: 1,000,001, limit bytes 1,000,000",
    ]
