"""K code vectors and how they learn: by gradient, or as the moving average of what fell to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quantizers.checks import require_between, require_choice, require_codebook, require_may_learn, require_positive
from quantizers.distributed import draw_rows, gather_rows, shared_generator, sum_over_processes
from quantizers.functional.kmeans import kmeans
from quantizers.functional.nearest import nearest_code
from quantizers.graphs import is_recomputing


class Codebook(nn.Module):
    """Code vectors (K, d) with nearest-code lookup.

    Moving averages are fp32 whatever the module is cast to: in bf16 an update of one percent would be rounded away.

    Args:
        update: "ema", the exponential moving average of the assigned vectors (van den Oord et al. 2017,
            arXiv:1711.00937, appendix A.1), or "gradient".
        decay, eps: of the moving average and of its Laplace smoothing.
        restart_threshold: a code whose moving average of hits a batch is below this is put on a random vector of the
            batch; 0 is never. Where a batch has fewer than ten vectors per code the bar is a tenth of that number, or
            codes in ordinary use would restart for ever.
        kmeans_init: start from k-means over the first training batches, until ten vectors per code have been seen.
        l2_norm: code vectors of length 1 (the caller normalises z).
    """

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        update: str = "ema",
        decay: float = 0.99,
        eps: float = 1e-5,
        restart_threshold: float = 0.0,
        kmeans_init: bool = False,
        l2_norm: bool = False,
    ) -> None:
        super().__init__()
        require_positive("Codebook", codebook_size=size, dim=dim)
        require_choice("Codebook", "codebook_update", update, ("ema", "gradient"))
        require_between("Codebook", 0, 1, decay=decay)
        require_between("Codebook", 0, float("inf"), eps=eps, restart_threshold=restart_threshold)
        self.size, self.dim, self.update_rule = size, dim, update
        self.decay, self.eps, self.restart_threshold, self.l2_norm = decay, eps, restart_threshold, l2_norm
        # Forward passes whose statistics make one update: set it to the number of gradient-accumulation steps.
        self.update_every = 1
        if update == "gradient":
            self.weight = nn.Parameter(torch.empty(size, dim))
        else:
            self.register_buffer("weight", torch.empty(size, dim, dtype=torch.float32))
            self.register_buffer("embed_sum", torch.empty(size, dim, dtype=torch.float32))
        self.register_buffer("cluster_size", torch.empty(size, dtype=torch.float32))
        # How many vectors k-means still waits for; a buffer, so that a resumed run does not start over.
        self.register_buffer("kmeans_wanted", torch.tensor(0))
        self.kmeans_init = kmeans_init
        self.reset_parameters()

    weight: Tensor
    embed_sum: Tensor
    cluster_size: Tensor
    kmeans_wanted: Tensor

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """U(-1/K, 1/K), as in VQ-VAE and taming; unit vectors with ``l2_norm``. Forgets all that was learned."""
        self.weight.uniform_(-1 / self.size, 1 / self.size)
        if self.l2_norm and not self.weight.is_meta:  # or torch loads its compiler, for nothing
            self.weight.copy_(F.normalize(self.weight, dim=-1))
        # With restarts, a fresh code has no standing: all but the most used move onto the first batch, as in Kakao's.
        self._start_average(0.0 if self.restart_threshold else 1.0)
        self.kmeans_wanted.fill_(10 * self.size if self.kmeans_init else 0)
        self._kmeans_done = not self.kmeans_init
        self._seen: list[Tensor] = []
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._fresh: list[Tensor] = []

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Codebook:
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, old in before.items():
            new = self._buffers[name]
            if old is not None and new is not None and new.dtype != old.dtype:
                self._buffers[name] = old.to(new.device)
        return self

    def _keep_precision(self) -> None:
        """Averages that were cast behind the module's back (``load_state_dict(assign=True)``, FSDP) are fp32 again."""
        for name, buffer in self._buffers.items():
            if buffer is not None and buffer.is_floating_point() and buffer.dtype != torch.float32:
                self._buffers[name] = buffer.float()

    @torch.no_grad()
    def load(self, weight: Tensor, cluster_size: Tensor | None = None, embed_sum: Tensor | None = None) -> None:
        """Take over code vectors (K, d), and the state of their moving average where it is at hand."""
        require_codebook(weight, self.weight)
        self.weight.copy_(F.normalize(weight.float(), dim=-1) if self.l2_norm and self.is_average else weight)
        self._start_average(1.0)
        if cluster_size is not None:
            self.cluster_size.copy_(cluster_size)
        if embed_sum is not None and self.is_average:
            self.embed_sum.copy_(embed_sum)
        self.kmeans_wanted.zero_()
        self._kmeans_done = True
        self._seen.clear()

    @property
    def is_average(self) -> bool:
        return self.update_rule == "ema"

    @property
    def vectors(self) -> Tensor:
        """(K, d) as they are compared and looked up, with their gradient if they have one."""
        return self._compared(self.weight)

    def _compared(self, weight: Tensor) -> Tensor:
        return F.normalize(weight.float(), dim=-1) if self.l2_norm else weight.float()

    def nearest(self, z: Tensor, first: int | None = None) -> Tensor:
        """z (..., d) -> int64 (...), among the ``first`` codes where a number is given."""
        return nearest_code(z, self._compared(self.weight[:first]))

    def lookup(self, index: Tensor) -> Tensor:
        """int64 (...) -> (..., d)."""
        # index_select is twice as fast as F.embedding on CPU, in both directions.
        vectors = self.weight.index_select(0, index.reshape(-1)).float().reshape(*index.shape, self.dim)
        return F.normalize(vectors, dim=-1) if self.l2_norm else vectors

    @torch.no_grad()
    def prepare(self, z: Tensor) -> None:
        """Called with z (..., d) before the lookup of a training step: k-means over the first batches."""
        if self._kmeans_done or is_recomputing():
            return
        require_may_learn("the codebook")
        wanted = int(self.kmeans_wanted)
        if wanted > 0:
            batch = gather_rows(z.detach().reshape(-1, self.dim).float())
            self._seen.append(batch)
            centroids, sizes = kmeans(
                torch.cat(self._seen), self.size, spherical=self.l2_norm, generator=shared_generator(z.device)
            )
            self.weight.copy_(centroids)
            # Sizes as one batch gives them, so that decay acts from the first update as from any other.
            self.cluster_size.copy_(sizes / len(self._seen))
            if self.is_average:
                self.embed_sum.copy_(centroids * self.cluster_size[:, None])
            wanted = max(0, wanted - len(batch))
            self.kmeans_wanted.fill_(wanted)
        if wanted == 0:
            self._kmeans_done = True
            self._seen.clear()

    @torch.no_grad()
    def learn(
        self,
        assigned: Sequence[tuple[Tensor, Tensor]],
        *,
        evenly: bool = False,
        fresh: Tensor | None = None,
        reach: Tensor | float = 1.0,
    ) -> None:
        """One training step's statistics: pairs of vectors (..., d) and the codes (...) they fell to.

        All processes take part; the codebook is the same on each afterwards.

        Args:
            evenly: each pair counts alike, however few its vectors are, in the averages and where unused codes restart.
                Or the one vector of an image that the coarsest scale of a pyramid has would find few codes among those
                that the finer ones keep in use.
            fresh: vectors (..., d) that unused codes restart on; by default those of the pairs.
            reach: hits that a code (K,) can expect in units of their mean, where not all may choose it.
        """
        if (not self.is_average and not self.restart_threshold) or is_recomputing():
            return
        require_may_learn("the codebook")
        self._keep_precision()
        # A new list: the replicas of DataParallel share the old one.
        self._pending = self._pending + [(self._rows(z), i.reshape(-1)) for z, i in assigned]
        self._fresh = self._fresh + ([] if fresh is None else [self._rows(fresh)])
        if len(self._pending) < self.update_every * len(assigned):
            return
        pending, self._pending = self._pending, []
        rows, self._fresh = self._fresh or [z for z, _ in pending], []
        hits_per_code = self._average(pending, evenly)
        if self.restart_threshold:
            self._restart(rows, hits_per_code * reach, evenly)
        if self.is_average:
            total = self.cluster_size.sum()
            smoothed = (self.cluster_size + self.eps) * (total / (total + self.size * self.eps))
            torch.div(self.embed_sum, smoothed[:, None], out=self.weight)
            if self.l2_norm:
                self.weight.copy_(F.normalize(self.weight, dim=-1))

    def _rows(self, z: Tensor) -> Tensor:
        return z.detach().reshape(-1, self.dim).float()

    def _average(self, pending: Sequence[tuple[Tensor, Tensor]], evenly: bool) -> Tensor:
        """Updates the averages; returns the hits a code had in this batch, on average."""
        share = sum(len(index) for _, index in pending) / len(pending)
        counts = torch.zeros_like(self.cluster_size)
        sums = torch.zeros_like(self.embed_sum) if self.is_average else None
        for z, index in pending:
            weight = share / len(index) if evenly else 1.0
            counts.index_add_(0, index, counts.new_ones(len(index)), alpha=weight)
            if sums is not None:
                sums.index_add_(0, index, z, alpha=weight)
        sum_over_processes(counts)
        self.cluster_size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        hits_per_code = counts.sum() / self.size
        if sums is not None:
            sum_over_processes(sums)
            self.embed_sum.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        return hits_per_code

    def _restart(self, rows: list[Tensor], expected: Tensor, evenly: bool) -> None:
        bar = (0.1 * expected).clamp_max(self.restart_threshold)
        dead = (self.cluster_size < bar).nonzero()[:, 0]
        if not len(dead):
            return
        if evenly:
            most = max(len(z) for z in rows)
            rows = [z[torch.arange(most, device=z.device) % len(z)] for z in rows]
        fresh = draw_rows(rows, len(dead), shared_generator(dead.device))
        self.cluster_size[dead] = 1.0
        if self.is_average:
            self.embed_sum[dead] = fresh
        else:
            self.weight[dead] = fresh.to(self.weight)

    def _start_average(self, size: float) -> None:
        self.cluster_size.fill_(size)
        if self.is_average:
            self.embed_sum.copy_(self.weight).mul_(size)  # a product of its own loads torch's compiler on meta
