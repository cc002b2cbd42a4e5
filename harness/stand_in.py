"""A small network regressed on a system's outputs: the gradient of last resort for scores and purifiers that have none.

It is asked for at clean, noisy and attacked inputs of the `fit` part, the attacked ones made against the stand-in itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from harness.gradients import Forward
from harness.system import System
from harness.types import Draws, Outputs, Split, State

WIDTH = 16
ROUNDS, STEPS, BATCH = 3, 150, 128


def fit(system: System, data: Split, *, epsilon: float, norm: str) -> State:
    """Weights of a network that gives the system's logits and margin near the inputs of `data`.

    Each round adds the outputs at inputs that the stand-in of the round before takes for accepted and wrong.
    """
    network, inputs, targets = None, [], []
    scale = epsilon if norm == "linf" else min(0.1, 2 * epsilon / data.x[0].numel() ** 0.5)
    for turn in range(ROUNDS):
        mine = data.draws.stream(f"round {turn}")
        noise = scale * (2 * mine.uniform(*data.x.shape[1:]).to(data.x) - 1)
        asked = [data.x, (data.x + noise).clamp(0, 1)]
        if network is not None:
            asked.append(_attacked(network, data, scale))
        inputs.append(torch.cat(asked))
        rows = torch.arange(len(inputs[-1]), device=data.y.device) % len(data)
        targets.append(_answers(system, inputs[-1], data.draws[rows]))
        network = _network(data, targets[0].shape[1]) if network is None else network
        _regress(network, torch.cat(inputs), torch.cat(targets))
    assert network is not None
    state = {name: value.detach() for name, value in network.state_dict().items()}
    state["shape"] = torch.tensor(data.x.shape[1:])
    return state | ({"rejects": torch.ones(1)} if system.rejects else {})


@torch.no_grad()
def _answers(system: System, x: Tensor, draws: Draws) -> Tensor:
    """Logits and, where there is one, the margin, cut to a range that a regression can follow: (B, K or K + 1)."""
    packed = []
    for first in range(0, len(x), 256):
        part = torch.arange(first, min(first + 256, len(x)), device=x.device)
        outputs = system(x[part], draws[part])
        logits = (outputs.logits - outputs.logits.mean(1, keepdim=True)).clamp(-30, 30)
        packed.append(
            logits if outputs.margin is None else torch.cat([logits, outputs.margin[:, None].clamp(-10, 10)], 1)
        )
    return torch.cat(packed)


def _network(data: Split, outputs: int) -> nn.Sequential:
    if data.x.ndim == 4:
        channels, height, width = data.x.shape[1:]
        size = -(-height // 4) * -(-width // 4) * WIDTH * 2
        body: list[nn.Module] = [
            nn.Conv2d(channels, WIDTH, 3, 2, 1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, 2, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(size, outputs),
        ]
    else:
        body = [nn.Flatten(), nn.Linear(data.x[0].numel(), 8 * WIDTH), nn.SiLU(), nn.Linear(8 * WIDTH, outputs)]
    return nn.Sequential(*body).to(data.x)


def _regress(network: nn.Sequential, x: Tensor, target: Tensor) -> None:
    """Adam on the squared error, each output in units of its own spread."""
    spread = target.std(0).clamp_min(1e-3)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    with torch.enable_grad():
        for _ in range(STEPS):
            rows = torch.randint(len(x), (BATCH,), device=x.device)
            optimizer.zero_grad()
            (((network(x[rows]) - target[rows]) / spread) ** 2).mean().backward()
            optimizer.step()


def _attacked(network: nn.Sequential, data: Split, scale: float) -> Tensor:
    """Five signed steps to what the stand-in takes for wrong and accepted."""
    x, classes = data.x.clone(), data.num_classes
    for _ in range(5):
        leaf = x.clone().requires_grad_()
        with torch.enable_grad():
            out = network(leaf)
            own = out[:, :classes].gather(1, data.y[:, None])[:, 0]
            loss = own - out[:, :classes].scatter(1, data.y[:, None], -torch.inf).amax(1)
            loss = loss + out[:, classes] if out.shape[1] > classes else loss
        (slope,) = torch.autograd.grad(loss.sum(), leaf)
        x = torch.clamp(x - 0.4 * scale * slope.sign(), data.x - scale, data.x + scale).clamp(0, 1)
    return x


def outputs_of(state: State) -> Forward:
    """The stand-in's forward pass: logits and, if it was regressed, the margin."""
    shape = state["shape"].tolist()
    final = max((name for name in state if name.endswith(".weight")), key=lambda name: int(name.split(".")[0]))
    number = len(state[final])
    like = Split(torch.zeros(1, *shape), torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), number)
    network = _network(like, number)
    network.load_state_dict({name: value for name, value in state.items() if name not in ("shape", "rejects")})
    network.to(state[final].device).requires_grad_(False)
    rejects = "rejects" in state

    def call(x: Tensor, draws: Draws) -> Outputs:
        out = network(x)
        return Outputs(out[:, :-1], out[:, -1]) if rejects else Outputs(out)

    return call
