"""Histories by definition, a user at a time: what an event store must hold."""


def before(events, user, time=None):
    """A user's (time, item) in order of time, ties as in the log; with a time, those strictly before it."""
    own = [(t, i) for u, t, i in events if u == user and (time is None or t < time)]
    return sorted(own, key=lambda event: event[0])


def targets(events, protocol):
    """The (user, items before, target) of every sample, training or not, of the protocols last and all."""
    samples = []
    for user in sorted({u for u, *_ in events}):
        items = [i for _, i in before(events, user)]
        ends = range(1, len(items)) if protocol == "all" else range(max(1, len(items) - 1), len(items))
        samples += [(user, items[:end], items[end]) for end in ends]
    return samples


def sessions(events, impressions):
    """The (user, time, items strictly before, [(candidate, label), ...]) of every sample of impressions."""
    samples = []
    for user, time in sorted({(u, t) for u, t, *_ in impressions}):
        shown = [(i, y) for u, t, i, y in impressions if (u, t) == (user, time)]
        samples.append((user, time, [i for _, i in before(events, user, time)], shown))
    return samples
