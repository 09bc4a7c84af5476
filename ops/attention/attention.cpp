#include "pumice/ops/attention/attention.h"

#include <algorithm>
#include <cmath>

#include "pumice/autograd/autograd.h"
#include "pumice/ops/attention/attention_kernels.h"
#include "pumice/ops/require.h"

namespace pumice {

PUMICE_DEFINE_KERNEL(attention_fwd, AttentionFwd);
PUMICE_DEFINE_KERNEL(attention_bwd, AttentionBwd);

namespace {

void require_offsets(const Tensor& offsets, const char* what, int64_t T) {
  require_dtype("attention", what, offsets, DType::i32);
  REQUIRE(ShapeError, offsets.rank() == 1 && offsets.dim(0) >= 1 && offsets.contiguous(), "[attention] ", what, " must be a packed (N + 1), got ",
          offsets.shape());
  if (offsets.device().kind != Device::kCpu) { return; }  // the kernels look, so that the host does not wait for the device
  const int32_t* o = offsets.data<int32_t>();
  const int64_t N = offsets.dim(0) - 1;
  REQUIRE(ShapeError, o[0] == 0 && o[N] == T, "[attention] ", what, " must run from 0 to T = ", T, ", got ", o[0], " to ", o[N]);
  for (int64_t n = 0; n < N; ++n) {
    REQUIRE(ShapeError, o[n] <= o[n + 1], "[attention] ", what, " must not fall, sequence ", n, " is [", o[n], ", ", o[n + 1], ")");
  }
}

void require_operands(const Tensor& q, const Tensor& k, const Tensor& v) {
  require_float("attention", "q", q);
  require_dtype("attention", "k", k, q.dtype());
  require_dtype("attention", "v", v, q.dtype());
  require_same_device("attention", q, k);
  require_same_device("attention", q, v);
  REQUIRE(ShapeError, q.rank() == 3 && k.rank() == 3 && k.shape() == v.shape() && q.dim(2) == k.dim(2) &&
                          (q.dim(1) == k.dim(1) || (k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0)),
          "[attention] q must be (Tq, H, D), k and v (Tk, Hkv, D) with the same D and H a multiple of Hkv, got ", q.shape(), ", ", k.shape(), " and ",
          v.shape());
}
void require_options(const AttentionOptions& options) {
  REQUIRE(UsageError, options.window >= 0 && (options.window == 0 || options.causal), "[attention] a window needs `causal` and is at least 0, got ",
          options.window);
  REQUIRE(UsageError, options.longest >= 0, "[attention] longest must be at least 0, got ", options.longest);
}

// The most tokens of a sequence: as promised in `longest`, or counted where the host sees the offsets; 0: unknown.
int64_t longest_of(const Tensor& q_offsets, const Tensor& k_offsets, int64_t longest) {
  int64_t most = 0;
  for (const Tensor& offsets : {q_offsets, k_offsets}) {
    if (offsets.device().kind != Device::kCpu) { return longest; }
    const int32_t* o = offsets.data<int32_t>();
    for (int64_t n = 0; n + 1 < offsets.size(); ++n) { most = std::max(most, int64_t(o[n + 1]) - o[n]); }
  }
  REQUIRE(ShapeError, longest == 0 || most <= longest, "[attention] a sequence has ", most, " tokens, and options.longest says at most ", longest);
  return longest ? longest : most;
}

void require_pairing(const Tensor& q_offsets, const Tensor& k_offsets, bool causal) {
  REQUIRE(ShapeError, q_offsets.shape() == k_offsets.shape(), "[attention] q_offsets and k_offsets must name as many sequences, got ", q_offsets.shape(),
          " and ", k_offsets.shape());
  if (q_offsets.device().kind != Device::kCpu || k_offsets.device().kind != Device::kCpu) { return; }
  const int32_t *q = q_offsets.data<int32_t>(), *k = k_offsets.data<int32_t>();
  for (int64_t n = 0; n + 1 < q_offsets.size(); ++n) {
    const int32_t queries = q[n + 1] - q[n], keys = k[n + 1] - k[n];
    REQUIRE(ShapeError, queries == 0 || keys >= (causal ? queries : 1), "[attention] sequence ", n, " has ", queries, " queries and ", keys, " keys; at least ",
            causal ? queries : 1, " keys are required");
  }
}

Tensor dense_rows(const Tensor& x) { return x.dim(-1) <= 1 || x.strides()[x.rank() - 1] == 1 ? x.detach() : packed(x); }

double scale_of(const AttentionOptions& options, int64_t D) { return options.scale != 0 ? options.scale : 1 / std::sqrt(double(D)); }

}  // namespace

Tensor cross_attention(const Tensor& q_in, const Tensor& k_in, const Tensor& v_in, const Tensor& q_offsets_in, const Tensor& k_offsets_in,
                       const AttentionOptions& options) {
  require_operands(q_in, k_in, v_in);
  require_options(options);
  require_offsets(q_offsets_in, "q_offsets", q_in.dim(0));
  require_offsets(k_offsets_in, "k_offsets", k_in.dim(0));
  require_pairing(q_offsets_in, k_offsets_in, options.causal);
  const int64_t longest = longest_of(q_offsets_in, k_offsets_in, options.longest);
  Tensor q_offsets = to_device(q_offsets_in, q_in.device()), k_offsets = to_device(k_offsets_in, q_in.device());
  Tensor q = dense_rows(q_in), k = dense_rows(k_in), v = dense_rows(v_in);
  const double scale = scale_of(options, q.dim(2));
  Tensor out = empty(q.shape(), q.dtype(), q.device());
  Tensor lse = empty({q.dim(0), q.dim(1)}, q.dtype() == DType::f64 ? DType::f64 : DType::f32, q.device());
  attention_fwd(q.device(), {out, lse, q, k, v, q_offsets, k_offsets, scale, options.causal, options.window, longest});

  // p_ij = exp(scale <q_i, k_j> - lse_i)     dv_j = sum_i p_ij do_i     ds_ij = p_ij (<do_i, v_j> - <do_i, out_i>)
  // dq_i = scale sum_j ds_ij k_j     dk_j = scale sum_i ds_ij q_i
  return record("attention", out, {q_in, k_in, v_in},
                [q, k, v, out, lse, q_offsets, k_offsets, scale, causal = options.causal,
                 window = options.window](const Tensor& dout, std::span<GradSink> dx) {
    Tensor dq = empty(q.shape(), q.dtype(), q.device()), dk = empty(k.shape(), k.dtype(), k.device()), dv = empty_like(dk);
    attention_bwd(q.device(), {dq, dk, dv, dense_rows(dout), out, lse, q, k, v, q_offsets, k_offsets, scale, causal, window});
    dx[0].put(dq);
    dx[1].put(dk);
    dx[2].put(dv);
  });
}

Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& offsets, const AttentionOptions& options) {
  REQUIRE(ShapeError, q.rank() == 3 && k.rank() == 3 && q.dim(0) == k.dim(0), "[attention] q, k and v must be (T, H, D) of one T, got ", q.shape(), ", ",
          k.shape(), " and ", v.shape());
  require_operands(q, k, v);
  require_offsets(offsets, "offsets", q.dim(0));
  return cross_attention(q, k, v, offsets, offsets, options);
}

Tensor attention_qkv(const Tensor& qkv_in, const Tensor& offsets_in, const AttentionOptions& options) {
  REQUIRE(ShapeError, qkv_in.rank() == 4 && qkv_in.dim(1) == 3, "[attention] qkv must be (T, 3, H, D), got ", qkv_in.shape());
  Tensor qkv = packed(qkv_in);
  auto part = [](const Tensor& t, int64_t i) {  // (T, H, D)
    return t.as_strided({t.dim(0), t.dim(2), t.dim(3)}, {t.strides()[0], t.strides()[2], t.strides()[3]}, i * t.strides()[1]);
  };
  require_operands(part(qkv, 0), part(qkv, 1), part(qkv, 2));
  require_options(options);
  require_offsets(offsets_in, "offsets", qkv.dim(0));
  const int64_t longest = longest_of(offsets_in, offsets_in, options.longest);
  Tensor offsets = to_device(offsets_in, qkv.device());
  const double scale = scale_of(options, qkv.dim(3));
  Tensor out = empty({qkv.dim(0), qkv.dim(2), qkv.dim(3)}, qkv.dtype(), qkv.device());
  Tensor lse = empty({qkv.dim(0), qkv.dim(2)}, qkv.dtype() == DType::f64 ? DType::f64 : DType::f32, qkv.device());
  attention_fwd(qkv.device(), {out, lse, part(qkv, 0), part(qkv, 1), part(qkv, 2), offsets, offsets, scale, options.causal,
                              options.window, longest});

  // as above, written into one gradient
  return record("attention_qkv", out, {qkv_in}, [qkv, out, lse, offsets, scale, part, causal = options.causal,
                                         window = options.window](const Tensor& dout, std::span<GradSink> dx) {
    Tensor d = empty_like(qkv);
    attention_bwd(qkv.device(), {part(d, 0), part(d, 1), part(d, 2), dense_rows(dout), out, lse, part(qkv, 0), part(qkv, 1), part(qkv, 2), offsets,
                                 offsets, scale, causal, window});
    dx[0].put(d);
  });
}

}  // namespace pumice
