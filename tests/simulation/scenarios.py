"""The meshes that are simulated, and what happens to each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.simulation.network import Weather


@dataclass(frozen=True, slots=True)
class Scenario:
    """What a mesh is and what happens to it; everything else follows from the seed."""

    name: str
    routers: int = 1
    actors: int = 3
    capacity: int = 4
    clients: int = 2
    requests: int = 24
    heartbeat_s: float = 1.0
    silence_s: float = 6.0
    spread_s: float = 12.0
    """Requests are sent, and faults happen, in this time."""
    longest_s: float = 6.0
    """Longest time that an actor works on a request."""
    weather: Weather = field(default_factory=Weather)
    router_deaths: int = 0
    deaths_at_messages: tuple[int, ...] = ()
    """Numbers of messages before which the router that they reach dies."""
    downtime_s: tuple[float, float] = (0.05, 6.0)
    router_stalls: int = 0
    actor_deaths: int = 0
    actor_stalls: int = 0
    client_stalls: int = 0
    longest_stall_s: float = 8.0
    breaks: int = 0
    """Connections that break with all that is on its way."""
    partitions: int = 0
    draws_pictures: bool = False
    """Whether the requests go to the conductors of a whole loop instead of to workers."""
    impatient: float = 0.0
    """Part of the requests whose client gives up after a while."""
    poisonous: int = 0
    """Requests, the first ones, that kill each actor that works on them."""
    max_deliveries: int = 100


SHORT_HEARTBEATS = Scenario(
    "short-heartbeats", routers=2, router_deaths=4, heartbeat_s=0.25, silence_s=1.5, downtime_s=(0.3, 1.5)
)
PICTURES = Scenario(
    "pictures",
    draws_pictures=True,
    requests=4,
    spread_s=3.0,
    weather=Weather(late=0.5, late_s=1.0),
    downtime_s=(0.05, 3.0),
)
UNRELIABLE = Weather(lost=0.005, repeated=0.01, late=0.1, late_s=0.5)
SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("calm"),
        Scenario("router-dies", router_deaths=3),
        Scenario("two-routers-die", routers=2, router_deaths=3),
        SHORT_HEARTBEATS,
        Scenario("router-stalls", router_stalls=3),
        Scenario("two-routers-stall", routers=2, router_stalls=3),
        Scenario("three-routers", routers=3, router_stalls=2, router_deaths=2),
        Scenario("all-stall", routers=2, actor_stalls=2, client_stalls=2, router_stalls=1),
        Scenario("actors-die", actor_deaths=4),
        Scenario("actors-and-routers-die", routers=2, actor_deaths=3, router_deaths=3),
        Scenario("poison", actors=2, capacity=16, requests=48, spread_s=1.0, poisonous=1, max_deliveries=4),
        Scenario("clients-give-up", routers=2, router_deaths=2, impatient=0.5),
        Scenario("connections-break", routers=2, breaks=6, partitions=1),
        Scenario("unreliable", weather=UNRELIABLE),
        Scenario(
            "everything",
            routers=2,
            weather=UNRELIABLE,
            router_deaths=2,
            router_stalls=1,
            actor_deaths=2,
            actor_stalls=1,
            client_stalls=1,
            breaks=3,
            partitions=1,
            impatient=0.1,
        ),
        replace(PICTURES, name="pictures-router-dies", router_deaths=3),
        replace(PICTURES, name="pictures-two-routers-die", routers=2, router_deaths=3),
        replace(PICTURES, name="pictures-actors-die", routers=2, actor_deaths=6, router_deaths=1, router_stalls=1),
        replace(PICTURES, name="pictures-unreliable", weather=UNRELIABLE, actor_deaths=3, breaks=3, actor_stalls=2),
    )
}
"""Every scenario by name."""


def dying_at(scenario: Scenario, *messages: int) -> Scenario:
    """Return the scenario in which the first router dies just before each of these messages arrives."""
    return replace(scenario, deaths_at_messages=messages)
