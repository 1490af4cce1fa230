from xmc.run_report.folder import POINTS, History, history


def records(count: int) -> list[dict]:
    return [
        {"step": 10 * i, "loss": 100 - i, "seconds_per_step": 0.5, "peak_memory_mib": 7.0 + i, "auxiliary_loss": None}
        for i in range(1, count + 1)
    ]


def test_keys_times_and_memory() -> None:
    told = history([*records(3), {"step": 30, "dev/P@1": 0.5}])
    assert set(told.curves) == {"loss", "seconds_per_step", "peak_memory_mib", "dev/P@1"}
    assert told.curves["loss"].steps.tolist() == [10, 20, 30]
    assert told.curves["loss"].values.tolist() == [99, 98, 97]
    assert (told.steps, told.seconds, told.peak_memory_mib) == (30, 15.0, 10.0)


def test_an_old_or_absent_log() -> None:
    assert history([]) == History({}, steps=0, seconds=0.0, peak_memory_mib=None)
    assert history([{"step": 3, "loss": 1.0}]).peak_memory_mib is None


def test_a_long_curve_is_thinned_to_means() -> None:
    loss = history(records(1000)).curves["loss"]
    assert len(loss.values) == POINTS
    assert abs(loss.values.mean() - (100 - 500.5)) < 1
    assert loss.values[0] == 97.5 and loss.steps[0] == 25  # of the first four
