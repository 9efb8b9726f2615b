"""Building encoders on a base model: dense, SPLADE, inference-free SPLADE and CSR."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ultra_train.embeddings.errors import EncoderError
from ultra_train.embeddings.loading import checked_length, find, load_encoder, loading
from ultra_train.tokenizer.loading import load_tokenizer

if TYPE_CHECKING:
    from typing import Unpack

    import torch
    from sentence_transformers import SentenceTransformer, SparseEncoder
    from sentence_transformers.base.modules import Transformer

Pooling = Literal["mean", "cls", "max"]
SpladeStrategy = Literal["max", "sum"]
Activation = Literal["relu", "log1p_relu"]


class Loading(TypedDict, total=False):
    """How a base model is loaded.

    Attributes:
        max_length: tokens to which texts are cut; as the model was saved when left out.
        trust_remote_code: run code that comes with the model.
        device: device; the best one of this machine when left out.
        dtype: precision of the weights; fp32 when left out, since most updates are below the resolution of
            half precision.
        key: key of the preset that names the model, for error messages.
        say: is told what a user should know about the model.
    """

    max_length: int | None
    trust_remote_code: bool
    device: str | None
    dtype: torch.dtype
    key: str
    say: Callable[[str], None]


def dense_encoder(
    base: str | Path, pooling: Pooling | None = None, **options: Unpack[Loading]
) -> SentenceTransformer:
    """Return an encoder that pools token states to one vector of a text.

    Args:
        base: any encoder of transformers, a run, or a dense encoder, which is continued with all its modules.
        pooling: how token states are pooled; None: as the encoder does, the mean for a base without pooling.
        **options: see :class:`Loading`.

    Raises:
        EncoderError: there is no such model, or it is a sparse encoder or a cross-encoder.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule

    name, kind = find(base, key=options.get("key", ""))
    if kind == "sparse":
        raise EncoderError(
            f"{base} is a sparse encoder; a dense encoder needs a base model or a dense encoder"
        )
    if kind == "dense":
        return _continued_dense(base, pooling, options)
    transformer = _transformer(name, base, "feature-extraction", options)
    modules = [transformer, PoolingModule(transformer.get_embedding_dimension(), pooling or "mean")]
    return SentenceTransformer(modules=modules, device=options.get("device"))


def splade_encoder(
    base: str | Path,
    pooling: SpladeStrategy = "max",
    *,
    activation: Activation = "relu",
    raw_logits: bool = False,
    **options: Unpack[Loading],
) -> SparseEncoder:
    """Return a SPLADE encoder: a weight of every token of the vocabulary, from a masked language model.

    Args:
        base: a masked language model of transformers, or a run of ``mlm``.
        pooling: ``max`` or ``sum`` over the tokens of a text.
        activation: ``relu`` gives ``log(1 + relu(z))``, ``log1p_relu`` takes the logarithm twice.
        raw_logits: use the logits as they leave the output layer, before a sigmoid or a soft cap of the head,
            which would leave no weight at zero.
        **options: see :class:`Loading`.

    Raises:
        EncoderError: the base has no masked language modelling head, or its tokenizer no mask token.

    Paper: Formal et al. 2021, "SPLADE v2", arXiv:2109.10086.
    """
    from sentence_transformers import SparseEncoder

    modules = _splade_modules(base, pooling, activation, options)
    return _finished(SparseEncoder(modules=modules, device=options.get("device")), raw_logits, options)


def inference_free_splade_encoder(
    base: str | Path,
    pooling: SpladeStrategy = "max",
    *,
    activation: Activation = "relu",
    freeze_query_weights: bool = False,
    raw_logits: bool = False,
    **options: Unpack[Loading],
) -> SparseEncoder:
    """Return a SPLADE encoder whose queries are their tokens, each with a trained weight, without a network.

    Args:
        base: see :func:`splade_encoder`, which encodes the documents.
        pooling: see there.
        activation: see there.
        freeze_query_weights: leave the weights of query tokens at 1.
        raw_logits: see there.
        **options: see :class:`Loading`.

    Raises:
        EncoderError: see there.
    """
    from sentence_transformers import SparseEncoder
    from sentence_transformers.base.modules import Router
    from sentence_transformers.sparse_encoder.modules import SparseStaticEmbedding

    documents = _splade_modules(base, pooling, activation, options, fit_vocabulary=True)
    queries = SparseStaticEmbedding(documents[0].tokenizer, frozen=freeze_query_weights)
    router = Router.for_query_document(query_modules=[queries], document_modules=documents)
    return _finished(SparseEncoder(modules=[router], device=options.get("device")), raw_logits, options)


def csr_encoder(
    base: str | Path,
    *,
    k: int = 256,
    k_aux: int = 512,
    hidden_dim: int | None = None,
    pooling: Pooling | None = None,
    **options: Unpack[Loading],
) -> SparseEncoder:
    """Return a dense encoder with a sparse autoencoder on top, which keeps the ``k`` largest latents.

    Args:
        base: see :func:`dense_encoder`.
        k: active latents of a text.
        k_aux: latents of the auxiliary loss; the loss of reconstruction also uses 4 k.
        hidden_dim: number of latents; None: four times the width of the vectors.
        pooling: see :func:`dense_encoder`.
        **options: see :class:`Loading`.

    Raises:
        EncoderError: fewer latents than ``4 k`` or than ``k_aux``, or see :func:`dense_encoder`.

    Paper: Wen et al. 2025, "Beyond Matryoshka: Revisiting Sparse Coding for Adaptive Representation",
    arXiv:2503.01776.
    """
    from sentence_transformers import SparseEncoder
    from sentence_transformers.sparse_encoder.modules import SparseAutoEncoder

    dense = dense_encoder(base, pooling, **options)
    width = dense.get_embedding_dimension()
    assert width is not None
    latents = 4 * width if hidden_dim is None else hidden_dim
    origin = f"4 x {width}, the width of {base}" if hidden_dim is None else "csr_hidden_dim"
    if 4 * k > latents:
        raise EncoderError(
            f"csr_k is {k}, but 4 csr_k = {4 * k} latents must fit into {latents} ({origin}); "
            f"set csr_k to {latents // 4} or less, or a larger csr_hidden_dim"
        )
    if k_aux > latents:
        raise EncoderError(
            f"csr_k_aux is {k_aux}, but there are {latents} latents ({origin}); set it to {latents} or less"
        )
    autoencoder = SparseAutoEncoder(input_dim=width, hidden_dim=latents, k=k, k_aux=k_aux)
    return SparseEncoder(modules=[*dense.children(), autoencoder], device=options.get("device"))


def _splade_modules(
    base: str | Path,
    pooling: SpladeStrategy,
    activation: Activation,
    options: Loading,
    *,
    fit_vocabulary: bool = False,
) -> list[Any]:
    from sentence_transformers.sparse_encoder.modules import SpladePooling

    from ultra_train.hf.vocabulary import num_embeddings

    name, kind = find(base, key=options.get("key", ""))
    if kind == "sparse":
        raise EncoderError(
            f"{base} is a sparse encoder already; to continue it, set "
            "model.load_pretrained_sparse_encoder: true"
        )
    if not _has_lm_head(name, kind):
        raise EncoderError(
            f"{base} has no masked language modelling head, which SPLADE needs; name a masked language "
            "model, or use the architecture csr, which takes dense encoders"
        )
    tokenizer = load_tokenizer(name, trust_remote_code=options.get("trust_remote_code", False))
    if tokenizer.mask_token is None:
        raise EncoderError(
            f"the tokenizer of {base} has no mask token, so that it belongs to no masked language model; "
            "SPLADE needs one"
        )
    transformer = _transformer(name, base, "fill-mask", options)
    if fit_vocabulary:
        _fit_vocabulary(transformer, base, options.get("say", _silently))
    dimensions = num_embeddings(transformer.model)
    return [transformer, SpladePooling(pooling, activation, embedding_dimension=dimensions)]


def _fit_vocabulary(transformer: Transformer, base: str | Path, say: Callable[[str], None]) -> None:
    """Give a model as many tokens as its tokenizer has, since the weights of queries are counted by these.

    Raises:
        EncoderError: the ids of the tokenizer have gaps.
    """
    from ultra_train.hf.vocabulary import num_embeddings, num_token_ids

    tokenizer, model = transformer.tokenizer, transformer.model
    assert tokenizer is not None
    size, rows = len(tokenizer.get_vocab()), num_embeddings(model)
    if num_token_ids(tokenizer) != size:
        raise EncoderError(
            f"the tokenizer of {base} has {size} tokens, but ids up to {num_token_ids(tokenizer) - 1}; "
            "queries without inference need ids without gaps: use the architecture splade"
        )
    if rows != size:
        model.resize_token_embeddings(size, mean_resizing=False)
        say(f"{base} has embeddings of {rows:,} tokens, its tokenizer {size:,}; the model gets as many")


def _has_lm_head(name: str, kind: str) -> bool:
    """Return whether the weights of a masked language modelling head are saved with a model."""
    from ultra_train.embeddings.kinds import read_json

    if kind == "masked-lm":
        return True
    architectures = (read_json(name, "config.json") or {}).get("architectures") or ()
    return any(str(one).endswith(("ForMaskedLM", "ForPreTraining")) for one in architectures)


def _transformer(name: str, base: str | Path, task: Any, options: Loading) -> Transformer:
    """Return the module of a base model, with texts cut to the length that is asked for."""
    import torch
    from sentence_transformers.base.modules import Transformer

    from ultra_train.embeddings.unpadding import unpad_inputs

    trust = {"trust_remote_code": options.get("trust_remote_code", False)}
    with loading(base):
        module = Transformer(
            name,
            transformer_task=task,
            model_kwargs={"dtype": options.get("dtype", torch.float32), **trust},
            config_kwargs=dict(trust),
            processor_kwargs=dict(trust),
        )
    module.max_seq_length = checked_length(
        module.model, options.get("max_length"), base, module.max_seq_length
    )
    unpad_inputs(module)
    return module


def _continued_dense(base: str | Path, pooling: Pooling | None, options: Loading) -> SentenceTransformer:
    """Return a dense encoder as it is, with another pooling if one is asked for."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling as PoolingModule

    encoder = load_encoder(
        base,
        device=options.get("device"),
        trust_remote_code=options.get("trust_remote_code", False),
        max_length=options.get("max_length"),
        dtype=options.get("dtype", torch.float32),
        key=options.get("key", ""),
    )
    assert isinstance(encoder, SentenceTransformer)
    own = next((module for module in encoder.children() if isinstance(module, PoolingModule)), None)
    if pooling is not None and own is not None and own.pooling_mode != pooling:
        options.get("say", _silently)(f"{base} was trained with pooling {own.pooling_mode}, not {pooling}")
        own.pooling_mode = pooling
    return encoder


def _finished(encoder: SparseEncoder, raw: bool, options: Loading) -> SparseEncoder:
    """Return a SPLADE encoder that pools in chunks where that is exact."""
    from ultra_train.embeddings.splade.chunked import pool_in_chunks
    from ultra_train.embeddings.splade.raw_logits import use_raw_logits

    if raw:
        use_raw_logits(encoder)
    for reason in pool_in_chunks(encoder):
        options.get("say", _silently)(reason)
    return encoder


def _silently(message: str) -> None:
    """Say nothing."""
