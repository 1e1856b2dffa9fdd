"""One token for every running sequence, by hand over joined weights: the forward of Qwen 2, Qwen 3 and Llama. Experts
are computed by their own module, which groups what each of them gets.

transformers' modules launch 52 operations a layer, this about 20: for a single row, most of the time goes into calling
them. Knows these models' mathematics and upstream's names for their weights; refuses to know sequences and schedules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

from ovis_app.engine.attention.torch_attention import AttentionBatch, attend_rows
from ovis_app.engine.row_product import RowProduct
from ovis_app.models import joined_weights
from ovis_app.models.joined_weights import GATE_UP, QKV

MODEL_TYPES = ("qwen2", "qwen3", "qwen3_moe", "llama")
ROUTER, EXPERTS_GATE_UP, EXPERTS_DOWN = "gate.weight", "experts.gate_up_proj", "experts.down_proj"
ROPE_TYPES = ("default", "linear", "llama3", "yarn")  # whose tables don't depend on the sequence


class RowNorm:
    """RMS norm over the last dimension, for a few rows on a CPU in five calls instead of twelve. With several weights,
    each is of as many heads as `heads` says."""

    def __init__(self, *weights: Tensor, eps: float, heads: tuple[int, ...] = ()) -> None:
        """`weights` are [size] each, and aren't copied."""
        self.weights, self.heads, self.eps = weights, heads, eps
        self.size = weights[0].shape[-1]
        # Half precision would be rounded too often.
        self._fast = weights[0].dtype == torch.float32 and weights[0].device.type == "cpu"
        # As tensors: each call would make a number one anew.
        self._floor, self._root = torch.tensor(eps**0.5), torch.tensor(self.size**-0.5)

    def __call__(self, values: Tensor) -> Tensor:
        """A new tensor like `values` [..., size], or [rows, heads, size] with several weights."""
        if self._fast:  # sqrt(mean(x^2) + eps) is hypot(|x| / sqrt(size), sqrt(eps))
            length = torch.linalg.vector_norm(values, dim=-1, keepdim=True)
            normed = values / length.mul_(self._root).hypot_(self._floor)
        elif len(self.weights) == 1:
            return F.rms_norm(values, (self.size,), self.weights[0], self.eps)
        else:
            normed = F.rms_norm(values, (self.size,), None, self.eps)
        if len(self.weights) == 1:
            return normed.mul_(self.weights[0])
        for part, weight in zip(normed.split(self.heads, dim=1), self.weights, strict=True):
            part.mul_(weight)
        return normed


@dataclass(frozen=True)
class Norms:
    """One layer's norms as they are computed. That of queries and keys is one, over all of their heads."""

    before: RowNorm
    heads: RowNorm | None
    behind: RowNorm


@dataclass(frozen=True)
class Dense:
    """A layer's second half."""

    gate_up: RowProduct
    down: RowProduct

    def added(self, rows: Tensor, to: Tensor) -> Tensor:
        gate, up = self.gate_up(rows).chunk(2, dim=-1)
        return self.down.added(F.silu(gate).mul_(up), to)


@dataclass(frozen=True)
class Mixture:
    """The same of a few experts, chosen for each row."""

    block: nn.Module

    def of(self, rows: Tensor) -> Tensor:
        return cast(Tensor, self.block(rows[None])[0])

    def added(self, rows: Tensor, to: Tensor) -> Tensor:
        return self.of(rows) + to

    @property
    def router(self) -> Tensor:
        """[experts, hidden]."""
        return self.block.get_parameter(ROUTER)

    @property
    def gate_up(self) -> Tensor:
        """[experts, 2 forward, hidden], gates first."""
        return self.block.get_parameter(EXPERTS_GATE_UP)

    @property
    def down(self) -> Tensor:
        """[experts, hidden, forward]."""
        return self.block.get_parameter(EXPERTS_DOWN)

    def chances(self, rows: Tensor) -> Tensor:
        """Probabilities [rows, experts] in float32, by which experts are chosen."""
        return F.linear(rows, self.router).softmax(-1, dtype=torch.float32)

    def shares(self, chances: Tensor, experts: Tensor) -> Tensor:
        """How much of each expert [rows, chosen] goes into the sum."""
        shares = chances.gather(-1, experts)
        return shares / shares.sum(-1, keepdim=True) if self.renormed else shares

    @property
    def chosen(self) -> int:
        """How many experts a row gets."""
        return cast(int, self.block.get_submodule("gate").top_k)

    @property
    def renormed(self) -> bool:
        """Whether their shares sum to 1."""
        return cast(bool, self.block.get_submodule("gate").norm_topk_prob)

    @property
    def known(self) -> bool:
        """Whether these are all of its weights, and of one type."""
        weights = dict(self.block.named_parameters())
        types = {weight.dtype for weight in weights.values()}
        return set(weights) == {ROUTER, EXPERTS_GATE_UP, EXPERTS_DOWN} and len(types) == 1


@dataclass(frozen=True)
class Layer:
    """One layer's weights. Norms are [hidden] or [head size]."""

    input_norm: Tensor
    qkv: RowProduct
    query_norm: Tensor | None
    key_norm: Tensor | None
    out: RowProduct
    post_norm: Tensor
    feed: Dense | Mixture


class DecodeStep:
    """Logits for one new token of each of several sequences. Made over a model's own weights."""

    why = ""  # it is always used
    prefill = None  # prompts go through the modules

    def __init__(self, llm: PreTrainedModel, *, context: int) -> None:
        """Joins the weights of `llm`, for sequences of `context` tokens at most. `unfit` says beforehand why not."""
        config: Any = llm.config.get_text_config()
        body = llm.get_submodule("model")
        self.llm = llm
        self.heads, self.groups = config.num_attention_heads, config.num_key_value_heads
        self.size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        self.eps = config.rms_norm_eps
        self.scaling = self.size**-0.5
        self.embedding = cast(nn.Embedding, llm.get_input_embeddings())
        self.norm = _weight(body, "norm")
        self.layers = [self._layer(layer) for layer in cast(nn.ModuleList, body.get_submodule("layers"))]
        self._norms = [self._norms_of(layer) for layer in self.layers]
        self._last_norm = RowNorm(self.norm, eps=self.eps)
        head = cast(nn.Linear, llm.get_output_embeddings())
        self.head = RowProduct(head.weight, head.bias)
        self.cos, self.sin = rope_tables(llm, context)
        first, second = self.sin.chunk(2, dim=-1)
        self._signed_sin = torch.cat([-first, second], dim=-1)

    def _layer(self, layer: nn.Module) -> Layer:
        attention, mlp = layer.get_submodule("self_attn"), layer.get_submodule("mlp")
        qkv = joined_weights.join([attention.get_submodule(name) for name in QKV])
        out = cast(nn.Linear, attention.get_submodule("o_proj"))
        normed = hasattr(attention, "q_norm")
        return Layer(
            input_norm=_weight(layer, "input_layernorm"),
            qkv=RowProduct(*qkv),
            query_norm=_weight(attention, "q_norm") if normed else None,
            key_norm=_weight(attention, "k_norm") if normed else None,
            out=RowProduct(out.weight, out.bias),
            post_norm=_weight(layer, "post_attention_layernorm"),
            feed=Mixture(mlp) if is_mixed(mlp) else _dense(mlp),
        )

    def _norms_of(self, layer: Layer) -> Norms:
        heads = None
        if layer.query_norm is not None and layer.key_norm is not None:
            heads = RowNorm(layer.query_norm, layer.key_norm, eps=self.eps, heads=(self.heads, self.groups))
        return Norms(RowNorm(layer.input_norm, eps=self.eps), heads, RowNorm(layer.post_norm, eps=self.eps))

    def prepare(self) -> Iterator[None]:
        """What there is to do behind the first answers: nothing."""
        return iter(())

    @property
    def together(self) -> bool:
        """Whether the model's own weights are still the ones that this step reads."""
        for module, layer in zip(cast(nn.ModuleList, self.llm.get_submodule("model.layers")), self.layers, strict=True):
            joined: list[tuple[nn.Module, tuple[str, ...], RowProduct]] = [
                (module.get_submodule("self_attn"), QKV, layer.qkv)
            ]
            if isinstance(layer.feed, Dense):
                joined.append((module.get_submodule("mlp"), GATE_UP, layer.feed.gate_up))
            for parent, names, product in joined:
                parts = [parent.get_submodule(name) for name in names]
                if not joined_weights.together(parts, product.weight, product.bias):
                    return False
        return True

    @torch.inference_mode()
    def __call__(self, tokens: Tensor, positions: Tensor, batch: AttentionBatch) -> Tensor:
        """Logits [rows, vocabulary] behind `tokens` [rows] at `positions` [rows]."""
        device = self.norm.device
        hidden = F.embedding(tokens.to(device), self.embedding.weight)
        places = positions.to(device)
        cos, sin = self.cos[places][:, None], self._signed_sin[places][:, None]  # [rows, 1, head size]
        for number, (layer, norms) in enumerate(zip(self.layers, self._norms, strict=True)):
            attended = self._attention(number, layer, norms, hidden, cos, sin, batch)
            hidden = layer.out.added(attended, hidden)
            hidden = layer.feed.added(norms.behind(hidden), hidden)
        return self.head(self._last_norm(hidden))

    def _attention(
        self, number: int, layer: Layer, norms: Norms, hidden: Tensor, cos: Tensor, sin: Tensor, batch: AttentionBatch
    ) -> Tensor:
        """[rows, heads times size]."""
        both = self.heads + self.groups
        qkv = layer.qkv(norms.before(hidden)).view(-1, both + self.groups, self.size)
        heads, value = qkv.split([both, self.groups], dim=1)
        if norms.heads is not None:
            heads = norms.heads(heads)
        query, key = rotated(heads, cos, sin).split([self.heads, self.groups], dim=1)
        return attend_rows(batch, number, query, key, value, scaling=self.scaling)


def rotated(values: Tensor, cos: Tensor, signed_sin: Tensor) -> Tensor:
    """`values` [rows, heads, size] at their positions. The sine's first half is negated, so that it takes the halves of
    the values exchanged: three calls instead of six."""
    rows, heads, size = values.shape
    exchanged = values.view(rows, heads, 2, size // 2).flip(-2).view(rows, heads, size)
    return torch.addcmul(values * cos, exchanged, signed_sin)


def unfit(llm: PreTrainedModel) -> str:
    """Why a language model's tokens go through its modules, in a few words; empty where a DecodeStep can make them."""
    config: Any = llm.config.get_text_config()
    if config.model_type not in MODEL_TYPES:
        return f"{config.model_type} has no decode step of its own"
    if set(getattr(config, "layer_types", None) or ["full_attention"]) != {"full_attention"}:
        return "it attends through a sliding window"
    if (getattr(config, "rope_parameters", None) or {}).get("rope_type", "default") not in ROPE_TYPES:
        return "its positions depend on the length of the conversation"
    if config.hidden_act != "silu":
        return f"its activation is {config.hidden_act}"
    if any(type(llm.get_submodule(name)) is not nn.Linear for name in _linears(llm)):
        return "its weights are quantized"
    if len({weight.device for weight in llm.parameters()}) > 1:
        return "it is spread over several devices"
    return ""


def is_mixed(mlp: nn.Module) -> bool:
    """Whether a layer's second half is a mixture of experts."""
    return hasattr(mlp, "experts")


def _dense(mlp: nn.Module) -> Dense:
    gate_up = joined_weights.join([mlp.get_submodule(name) for name in GATE_UP])
    down = cast(nn.Linear, mlp.get_submodule("down_proj"))
    return Dense(RowProduct(*gate_up), RowProduct(down.weight, down.bias))


def _linears(llm: PreTrainedModel) -> Iterator[str]:
    """Names of what a DecodeStep multiplies by."""
    for number, layer in enumerate(cast(nn.ModuleList, llm.get_submodule("model.layers"))):
        yield from (f"model.layers.{number}.self_attn.{name}" for name in (*QKV, "o_proj"))
        if not is_mixed(layer.get_submodule("mlp")):
            yield from (f"model.layers.{number}.mlp.{name}" for name in (*GATE_UP, "down_proj"))


@torch.inference_mode()
def rope_tables(llm: PreTrainedModel, context: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [context, head size] of every position, by the model's own module."""
    rotary: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] = llm.get_submodule("model.rotary_emb")
    device = next(llm.parameters()).device
    cos, sin = rotary(torch.empty(1, dtype=llm.dtype, device=device), torch.arange(context, device=device)[None])
    return cos[0], sin[0]


def _weight(module: nn.Module, name: str) -> Tensor:
    return cast(Tensor, module.get_submodule(name).weight)
