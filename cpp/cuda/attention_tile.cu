// SPDX-License-Identifier: Apache-2.0
// attention for many queries: both products on float64 tensor cores. A warp has 16 rows; all warps of a block share
// tiles of keys, widened once on their way to shared memory. The weights go from the results of the one product to the
// operands of the other in registers: the order of the keys is free, so key 2t + i of the former is k = t + 4i of the
// latter. Sums are relative to the largest exponent so far, and scaled by powers of two when that grows.
#include "cuda/attention.h"

namespace fp8ref::cuda {
namespace {

constexpr int kThreads = 256, kRows = 16 * (kThreads / 32);
constexpr int kKeys = 32;     // keys of a tile
constexpr int kKeyTiles = 2;  // of 8 keys: what a warp works on at once, so that all stays in registers
constexpr int kPiece = 8;     // 16 bytes of bf16
constexpr int kMostKeys = 0x7FFFFFFF - kKeys;  // of a split: an int counts them
static_assert(kRows == kAttentionTileRows);

/// The shared memory of a block. Strides that put the doubles which half a warp reads at once into 16 banks of 8 bytes:
/// 4 keys x 4 columns of k, and 2t x g of v.
template <int d>
struct Shared {
  double k[kKeys][d + 4];
  double v[kKeys][d + 2];
  alignas(16) bf16 q[kRows][d + kPiece];
  double row_error[kRows];
  int row_first[kRows], row_end[kRows];  // the keys that a row sees, counted from the block's first
  int key_magnitudes[2][kKeys];          // of this tile, and of the next
  int magnitudes[d];
};

/// Tiles of k and v on their way through registers.
template <int d>
struct Loaded {
  static constexpr int kPieces = kKeys * (d / kPiece), kEach = (kPieces + kThreads - 1) / kThreads;

  uint4 k[kEach], v[kEach];

  /// Keys from `count` on become zeros; nobody sees them.
  __device__ void load(const bf16* keys, const bf16* values, std::int64_t stride, std::int64_t count) {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int piece = static_cast<int>(threadIdx.x) + e * kThreads;
      const std::int64_t j = piece / (d / kPiece), at = j * stride + piece % (d / kPiece) * kPiece;
      const bool there = piece < kPieces && j < count;
      k[e] = there ? load_as<uint4>(keys + at) : uint4{0, 0, 0, 0};
      v[e] = there ? load_as<uint4>(values + at) : uint4{0, 0, 0, 0};
    }
  }

  __device__ void store(Shared<d>& shared, int parity) const {
#pragma unroll
    for (int e = 0; e < kEach; ++e) {
      const int piece = static_cast<int>(threadIdx.x) + e * kThreads;
      if (piece >= kPieces) continue;
      const int j = piece / (d / kPiece), i = piece % (d / kPiece) * kPiece;
      const std::uint32_t key[4] = {k[e].x, k[e].y, k[e].z, k[e].w}, value[4] = {v[e].x, v[e].y, v[e].z, v[e].w};
      int most = 0;
#pragma unroll
      for (int p = 0; p < 8; ++p) {
        const bf16 x{static_cast<std::uint16_t>(key[p / 2] >> (p % 2 * 16))};
        const bf16 y{static_cast<std::uint16_t>(value[p / 2] >> (p % 2 * 16))};
        most = most > (x.bits & 0x7FFF) ? most : x.bits & 0x7FFF;
        // A plain look first: these seldom grow. An old value only means an atomic step more.
        if ((y.bits & 0x7FFF) > shared.magnitudes[i + p]) atomicMax(&shared.magnitudes[i + p], y.bits & 0x7FFF);
        shared.k[j][i + p] = widen(x);
        shared.v[j][i + p] = widen(y);  // an Inf or NaN reaches its own column only, which stays open
      }
      atomicMax(&shared.key_magnitudes[parity][j], most);
    }
  }
};

template <int d>
__device__ void load_queries(const AttentionRows& a, const AttentionPlace& place, std::int64_t first,
                             Shared<d>& shared) {
  for (int r = warp_index(); r < kRows; r += kThreads / 32) {
    const bool there = first + r < a.per_kv_head();
    double squares = 0;
    for (int i = lane_index(); i < d; i += 32) {
      const bf16 x = there ? a.args.q[a.offset(place.kv_head, first + r) + i] : bf16{0};
      shared.q[r][i] = x;
      squares = fma64(widen(x), widen(x), squares);
    }
    squares = warp_reduce(squares, [](double x, double y) { return x + y; });
    if (lane_index() == 0) shared.row_error[r] = attention_row_error(squares, d);
  }
}

/// A thread's part of the sums of a warp's 16 rows: rows g and g + 8, columns 8n + 2t and the next.
template <int d>
struct RowSums {
  double numerators[d / 8][4] = {};
  double denominators[2] = {0, 0};
  float largest[2] = {-INFINITY, -INFINITY};
};

/// dots = q k^T for 16 rows and the keys of a tile from `key` on.
template <int d>
__device__ __forceinline__ void multiply_keys(const Shared<d>& shared, int warp_row, int key,
                                              double (&dots)[kKeyTiles][4]) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int i = 0; i < d; i += 8) {
    double q[4];
#pragma unroll
    for (int r = 0; r < 4; ++r) q[r] = widen(shared.q[warp_row + g + 8 * (r % 2)][i + t + 4 * (r / 2)]);
#pragma unroll
    for (int n = 0; n < kKeyTiles; ++n) {
      const double k[2] = {shared.k[key + 8 * n + g][i + t], shared.k[key + 8 * n + g][i + t + 4]};
      mma_f64(dots[n], q, k);
    }
  }
}

/// A key counted from the block's first.
__device__ __forceinline__ int count_keys(std::int64_t keys) {
  return static_cast<int>(keys < 0 ? 0 : keys < kMostKeys ? keys : kMostKeys);
}

/// The dots of rows first_row and first_row + 8 become weights relative to the largest exponent so far, and the sums
/// follow it.
template <int d>
__device__ __forceinline__ void weigh(const AttentionRows& a, const AttentionPlace& place, const Shared<d>& shared,
                                      int parity, int first_row, const bf16* keys, int from, int key,
                                      double (&dots)[kKeyTiles][4], RowSums<d>& sums) {
  const int t = lane_index() % 4;
  float exponents[kKeyTiles][4];
  int significands[kKeyTiles][4];
  float most[2] = {sums.largest[0], sums.largest[1]};
  const int begin[2] = {shared.row_first[first_row], shared.row_first[first_row + 8]};
  const int end[2] = {shared.row_end[first_row], shared.row_end[first_row + 8]};
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      const int j = key + 8 * n + 2 * t + r % 2, row = r / 2;
      Weight weight{-INFINITY, 0};
      if (from + j >= begin[row] && from + j < end[row]) {
        const double bound = widen(bf16{static_cast<std::uint16_t>(shared.key_magnitudes[parity][j])});
        const float c = a.args.log2e_scale;
        const CertifiedWeight certified =
            attention_weight_within(dots[n][r], shared.row_error[first_row + 8 * row] * bound, c);
        weight = certified.value;
        if (!certified.proven) {
          const std::int64_t query = a.offset(place.kv_head, place.tile * kRows + first_row + 8 * row);
          weight = attention_open_weight(a.args.q + query, keys + (from + j) * a.stride(), d, c);
        }
      }
      exponents[n][r] = weight.exponent;
      significands[n][r] = weight.significand;
      most[row] = most[row] > weight.exponent ? most[row] : weight.exponent;
    }
  }
  double factor[2];
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    for (int mask = 1; mask < 4; mask *= 2) {
      const float other = __shfl_xor_sync(0xFFFFFFFF, most[row], mask);
      most[row] = most[row] > other ? most[row] : other;
    }
    factor[row] = attention_rescale(sums.largest[row], most[row]);
    sums.largest[row] = most[row];
    sums.denominators[row] *= factor[row];
  }
#pragma unroll
  for (int n = 0; n < kKeyTiles; ++n) {
#pragma unroll
    for (int r = 0; r < 4; ++r) {
      dots[n][r] = attention_relative(exponents[n][r], significands[n][r], most[r / 2]);
      sums.denominators[r / 2] += dots[n][r];
    }
  }
  if (!__any_sync(0xFFFFFFFF, factor[0] != 1 || factor[1] != 1)) return;
#pragma unroll
  for (int n = 0; n < d / 8; ++n) {
#pragma unroll
    for (int r = 0; r < 4; ++r) sums.numerators[n][r] *= factor[r / 2];
  }
}

/// numerators += w v, with the keys in the order of the results that the weights were.
template <int d>
__device__ __forceinline__ void add_values(const Shared<d>& shared, int key, const double (&weights)[kKeyTiles][4],
                                           RowSums<d>& sums) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int j = 0; j < kKeyTiles; ++j) {
    const double w[4] = {weights[j][0], weights[j][2], weights[j][1], weights[j][3]};
#pragma unroll
    for (int n = 0; n < d / 8; ++n) {
      const double v[2] = {shared.v[key + 8 * j + 2 * t][8 * n + g], shared.v[key + 8 * j + 2 * t + 1][8 * n + g]};
      mma_f64(sums.numerators[n], w, v);
    }
  }
}

template <int d>
__device__ void write_parts(const AttentionRows& a, const AttentionParts& parts, const AttentionPlace& place,
                            std::int64_t first, RowSums<d>& sums) {
  const int g = lane_index() / 4, t = lane_index() % 4;
#pragma unroll
  for (int row = 0; row < 2; ++row) {
    double denominator = sums.denominators[row];
    for (int mask = 1; mask < 4; mask *= 2) denominator += __shfl_xor_sync(0xFFFFFFFF, denominator, mask);
    const std::int64_t r = first + g + 8 * row;
    if (r >= a.per_kv_head()) continue;
    const std::int64_t part = place.part(a, parts, r);
    if (t == 0) parts.parts[part] = {sums.largest[row], denominator};
#pragma unroll
    for (int n = 0; n < d / 8; ++n) {
      *reinterpret_cast<double2*>(parts.numerators + part * d + 8 * n + 2 * t) = {sums.numerators[n][2 * row],
                                                                                  sums.numerators[n][2 * row + 1]};
    }
  }
}

template <int d>
__global__ void __launch_bounds__(kThreads, 1) attention_tile_kernel(AttentionRows a, AttentionParts parts) {
  Shared<d>& shared = *shared_memory<Shared<d>>();
  const AttentionPlace place(parts, blockIdx.x);
  const std::int64_t first = place.tile * kRows, rows = a.per_kv_head(), stride = a.stride();
  const std::int64_t begin = place.begin(a, parts, first);
  const std::int64_t end = place.end(a, parts, first, first + kRows < rows ? kRows : rows - first);
  const bf16* keys = a.args.k + place.kv_head * d;
  const bf16* values = a.args.v + place.kv_head * d;
  const int warp_row = warp_index() * 16, thread = static_cast<int>(threadIdx.x);
  load_queries<d>(a, place, first, shared);
  for (int i = thread; i < d; i += kThreads) shared.magnitudes[i] = 0;
  for (int i = thread; i < 2 * kKeys; i += kThreads) shared.key_magnitudes[i / kKeys][i % kKeys] = 0;
  for (int r = thread; r < kRows; r += kThreads) {  // a row that is not there sees no key
    shared.row_first[r] = first + r < rows ? count_keys(a.first_visible(first + r) - begin) : kMostKeys;
    shared.row_end[r] = first + r < rows ? count_keys(a.visible(first + r) - begin) : 0;
  }
  __syncthreads();
  const int row = warp_row + lane_index() / 4;
  // What the warp sees: the first key of a row is never before that of the row above it.
  const int from_key = shared.row_first[warp_row];
  const int to_key =
      warp_reduce(shared.row_end[warp_row + lane_index() % 16], [](int x, int y) { return x > y ? x : y; });
  RowSums<d> sums;
  Loaded<d> loaded;
  keys += begin * stride, values += begin * stride;
  const int count = static_cast<int>(end < begin ? 0 : end - begin);
  if (count > 0) loaded.load(keys, values, stride, count);
  int parity = 0;
  for (int from = 0; from < count; from += kKeys, parity ^= 1) {
    loaded.store(shared, parity);
    __syncthreads();
    const int next = from + kKeys;
    if (next < count) loaded.load(keys + next * stride, values + next * stride, stride, count - next);
    if (thread < kKeys) shared.key_magnitudes[parity ^ 1][thread] = 0;
#pragma unroll 1
    for (int key = 0; key < kKeys; key += 8 * kKeyTiles) {
      if (from + key >= to_key || from + key + 8 * kKeyTiles <= from_key) continue;
      double dots[kKeyTiles][4] = {};
      multiply_keys<d>(shared, warp_row, key, dots);
      weigh<d>(a, place, shared, parity, row, keys, from, key, dots, sums);
      add_values<d>(shared, key, dots, sums);
    }
    __syncthreads();  // the tile may be overwritten
  }
  write_parts<d>(a, parts, place, first + warp_row, sums);
  for (int i = thread; i < d; i += kThreads) place.magnitudes(a, parts)[i] = shared.magnitudes[i];
}

template <int d>
void start(const AttentionRows& a, const AttentionParts& parts, cudaStream_t stream) {
  launch("attention", attention_tile_kernel<d>, static_cast<unsigned>(parts.splits * parts.tiles * a.args.kv_heads),
         kThreads, sizeof(Shared<d>), stream, a, parts);
}

}  // namespace

void attention_tile(const AttentionRows& a, const AttentionParts& parts, cudaStream_t stream) {
  if (a.args.head_dim == 64) return start<64>(a, parts, stream);
  if (a.args.head_dim == 80) return start<80>(a, parts, stream);
  return a.args.head_dim == 96 ? start<96>(a, parts, stream) : start<128>(a, parts, stream);
}

}  // namespace fp8ref::cuda
